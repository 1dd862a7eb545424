"""Object-centric world models: pixels to object tokens, latent interventions, planning."""

__version__ = "0.3.0"
