"""Studies: a YAML of stages, cached and resumed."""
