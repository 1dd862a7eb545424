"""Object-centric world models: pixels to object tokens, latent interventions, planning."""

from importlib import import_module
from typing import Any

__version__ = "0.7.0"
_PUBLIC = ("load_tokenizer", "load_world_model", "plan_to")


def __getattr__(name: str) -> Any:
    """The functions of :mod:`cjepa.api`, loaded when they are used: `import cjepa` stays light."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'cjepa' has no attribute {name!r}")
    return getattr(import_module("cjepa.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
