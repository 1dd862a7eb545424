"""Weights of other people's models from files of ``torch.save``: state dicts, or whole pickled modules.

A pickled module names the classes and functions of the code that made it. None of them is imported or called here:
whatever a pickle asks for, beyond ordered dicts and plain tensors, becomes an inert object that keeps its attributes.
Values of tensors stay in the file until they are asked for.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cjepa.errors import UserError
from cjepa.tensor_files import Refused, check_pickle, stored_pickle

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
}
"""Of the storages whose values are read; other tensors, such as counters, are left out."""
_DEEPEST = 50
"""Modules inside each other."""
_MOST_AXES = 8


class StoredTensor(NamedTuple):
    """A tensor whose values are still in the file."""

    entry: str
    dtype: torch.dtype
    offset: int
    """In values; so are the strides."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class PickledWeights(NamedTuple):
    """The tensors of a file by name; those of a module are named as in its state dict."""

    path: Path
    tensors: dict[str, StoredTensor]

    def read(self, name: str) -> Tensor:
        """The values of one tensor, float32.

        Raises:
            UserError: fewer values are stored than it has.
        """
        stored = self.tensors[name]
        try:
            with zipfile.ZipFile(self.path) as archive:
                flat = torch.frombuffer(bytearray(archive.read(stored.entry)), dtype=stored.dtype)
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"{self.path}: {name}: its values are not readable ({error})") from None
        last = stored.offset + sum((side - 1) * by for side, by in zip(stored.shape, stored.strides, strict=True))
        if min(stored.shape, default=1) < 1 or max(last + 1, math.prod(stored.shape)) > len(flat):
            raise UserError(f"{self.path}: {name}: a tensor {stored.shape} of which fewer values are stored")
        return torch.as_strided(flat, stored.shape, stored.strides, stored.offset).float().clone()


def open_weights(path: Path) -> PickledWeights:
    """The floating-point tensors of a state dict, of a checkpoint with one under ``state_dict``, or of a module.

    Raises:
        UserError: no such file, not a file of ``torch.save`` in its zip format, damaged, or without tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        folder, content = stored_pickle(path)
        check_pickle(content, plain=False)
        value = _InertUnpickler(content, folder).load()
        tensors = dict(_tensors(value.get("state_dict", value) if isinstance(value, dict) else value))
    except Refused as refusal:
        raise UserError(f"{path}: not readable as weights ({refusal})") from None
    except Exception as error:  # damage has many faces; nothing that the file names has run
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: not a file of torch.save (its zip format), or damaged ({reason})") from None
    if not tensors:
        raise UserError(f"{path}: contains no weights; expected a state dict or a pickled module")
    return PickledWeights(path, tensors)


class _Inert:
    """Stands for an object, a class or a function of any name: takes what a pickle does to it, and does nothing."""

    attributes: dict[str, Any]

    def __new__(cls, *_: Any, **__: Any) -> "_Inert":
        made = super().__new__(cls)
        made.attributes = {}  # __init__ is not called for everything that a pickle makes
        return made

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}

    def __call__(self, *_: Any, **__: Any) -> "_Inert":
        return _Inert()

    def append(self, _: Any) -> None:
        """As of a list; so are the next two of a list and a dict."""

    def extend(self, _: Any) -> None:
        """See :meth:`append`."""

    def __setitem__(self, _: Any, __: Any) -> None:
        """See :meth:`append`."""


class _InertUnpickler(pickle.Unpickler):
    """Builds plain containers, :class:`StoredTensor` and :class:`_Inert`, nothing else."""

    def __init__(self, content: bytes, folder: str):
        super().__init__(io.BytesIO(content))
        self.folder = folder

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name; no module is imported."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _stored_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        return type(name, (_Inert,), {}) if name.isidentifier() else _Inert

    def persistent_load(self, pid: Any) -> tuple[str, torch.dtype | None]:
        """Where a storage is, and of which type its values are; None for those that are not read."""
        kind, storage, key, *_ = pid
        if kind != "storage" or not isinstance(key, str):
            raise Refused(f"it asks for {str(kind)[:60]!r}")
        return f"{self.folder}data/{key}", _DTYPES.get(getattr(storage, "__name__", ""))


def _stored_tensor(storage: tuple[str, torch.dtype | None], offset: int, shape: Any, strides: Any, *_: Any) -> Any:
    """In place of torch's function of these arguments."""
    entry, dtype = storage
    if type(entry) is not str or dtype not in (None, *_DTYPES.values()):  # a tuple of the pickle's own
        raise Refused("a tensor without a storage")
    sides = tuple(shape), tuple(strides)
    if not all(type(value) is int and 0 <= value < 2**40 for value in (offset, *sides[0], *sides[1])):
        raise Refused("a tensor of impossible sides")
    if len(sides[0]) != len(sides[1]) or len(sides[0]) > _MOST_AXES:
        raise Refused("a tensor of impossible sides")
    return _Inert() if dtype is None else StoredTensor(entry, dtype, offset, *sides)


def _tensors(value: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, StoredTensor]]:
    """Tensors by name: those of a mapping, or the parameters and buffers of a module and of those in it."""
    if depth > _DEEPEST:
        raise Refused(f"modules deeper than {_DEEPEST}")
    if isinstance(value, dict):
        yield from ((f"{prefix}{name}", part) for name, part in value.items() if isinstance(part, StoredTensor))
    elif isinstance(value, _Inert):
        for kind in ("_parameters", "_buffers"):
            yield from _tensors(value.attributes.get(kind) or {}, prefix, depth)
        modules = value.attributes.get("_modules")
        for name, module in (modules if isinstance(modules, dict) else {}).items():
            yield from _tensors(module, f"{prefix}{name}.", depth + 1)
