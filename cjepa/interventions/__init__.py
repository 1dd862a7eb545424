"""Latent interventions of a trained world model and what they show: computed here, scored in ``evaluation``.

Interventions in the simulator itself are in ``envs/interventions.py``, masks of training in ``world_models/masks.py``.
"""
