"""Dynamics in token space: predictors, masks, losses, training."""
