"""Latent edits, influence and counterfactuals of world models: not written yet.

What is computed of a model will stand here; scores against the simulator will stand in ``evaluation``. Interventions in
the simulator itself are in ``envs/interventions.py``, masks of training in ``world_models/masks.py``.
"""
