"""Sentences and object tokens in one space: what a goal in words looks like."""
