"""Episode and token files."""
