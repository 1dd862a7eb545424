"""Collide, a table of colliding bodies."""
