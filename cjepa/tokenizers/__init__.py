"""Pixels to object tokens."""
