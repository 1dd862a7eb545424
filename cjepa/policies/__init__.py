"""Reactive policies on object tokens: the next actions at a glance, without a search."""
