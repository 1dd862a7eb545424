"""Closed-loop planning: start/goal pairs, trials of agents on them, and what a model's costs say of plans."""
