"""Configs and command lines as values: YAML, class paths, mappings, and what is said of wrong ones."""
