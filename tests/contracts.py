"""Finds the subclasses of an extension point by itself, so that a new file is held to its contract unasked."""

import importlib
import inspect
import pkgutil

import torch
from torch import nn

from cjepa.world_models.predictors.object_filter import ObjectFilter

OUTSIDE = ("tests.outside",)
"""Modules outside the package whose classes are held to the contracts too, as those of a user's package are."""


def concrete_subclasses(package: str, base: type) -> list[type]:
    """Every class under ``package``, and of the modules ``OUTSIDE``, that can be built as a ``base``."""
    folder = importlib.import_module(package)
    for module in pkgutil.walk_packages(folder.__path__, package + "."):
        importlib.import_module(module.name)
    for name in OUTSIDE:
        importlib.import_module(name)

    def walk(cls: type) -> set[type]:
        return {cls}.union(*(walk(child) for child in cls.__subclasses__()))

    found = [c for c in walk(base) if not inspect.isabstract(c) and c.__module__.startswith((package, *OUTSIDE))]
    assert found, f"no subclass of {base.__name__} in {package}"
    return sorted(found, key=lambda cls: cls.__qualname__)


def build(cls: type, **candidates):
    """``cls`` with those of the candidate arguments that it takes; the members of an ensemble take them all."""
    candidates.setdefault("num_tokens", 3)  # of most clips in tests
    candidates.setdefault("predictor", lambda: build(ObjectFilter, **candidates))
    required = inspect.signature(cls).parameters.get("place")
    if required is not None and required.default is inspect.Parameter.empty:
        candidates.setdefault("place", (1, 1))  # of a token of 6 values, as in most tests
    taken = arguments_of(cls)
    return cls(**{name: value for name, value in candidates.items() if name in taken})


def arguments_of(cls: type) -> list[str]:
    """The arguments that a class takes, those among them that it hands on to its base class as ``**options``."""
    names: list[str] = []
    for base in cls.__mro__:
        taken = inspect.signature(base).parameters
        names += taken
        if "options" not in taken:
            return names
    raise AssertionError(f"{cls.__name__} hands options on to nobody")


@torch.no_grad()
def stirred(module: nn.Module, seed: int = 0) -> nn.Module:
    """``module`` with noise on every weight, as if trained: contracts hold away from special initial values too."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return module


def assert_order_does_not_matter(predictor: nn.Module, tokens, proprio, actions, mask) -> None:
    """A predictor of four objects, of which one is hidden, does the same whatever their order."""
    mask = mask.clone()
    mask[:, 1:, 2] = True
    order = torch.tensor([2, 0, 3, 1])
    expected = predictor(tokens, proprio, actions, mask)
    found = predictor(tokens[:, :, order], proprio, actions, mask[:, :, order])
    torch.testing.assert_close(found.history_BTSD, expected.history_BTSD[:, :, order])
    torch.testing.assert_close(found.future_BFSD, expected.future_BFSD[:, :, order])
    torch.testing.assert_close(found.proprio_BFP, expected.proprio_BFP)
