"""Other people's pickles, read without running anything that they name.

A pickle is a program for Python's unpickler: it may call any function that can be imported. The reader here is another
machine for the same opcodes. It knows numbers, text, lists, tuples, dicts and numpy arrays of numbers, imports nothing
and calls nothing; at the first name or opcode beyond these it stops. What arrays hold stays in the file until it is
asked for, so a pickle of any size costs the memory of its largest array.
"""

import math
import pickletools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cjepa.errors import UserError

_CORES = ("numpy.core", "numpy._core")
_ADMITTED = {"numpy.ndarray": "ndarray", "numpy.dtype": "dtype"}
_ADMITTED |= {f"{core}.multiarray._reconstruct": "_reconstruct" for core in _CORES}
_ADMITTED |= {f"{core}.multiarray.scalar": "scalar" for core in _CORES}
_ADMITTED |= {f"{core}.numeric._frombuffer": "_frombuffer" for core in _CORES}

_INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_OTHERS = ("FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_PUSH_ARGUMENT = (*_INTEGERS, *_OTHERS)
_PUSH_NEW = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
}
_BYTES_HEADER = {"SHORT_BINBYTES": 2, "BINBYTES": 5, "BINBYTES8": 9, "BYTEARRAY8": 9}
"""Bytes of opcode and length before the contents."""
_SCALAR_BYTES = 16
_MOST_AXES = 32
_LONGEST_SIDE = 1 << 48
_KEYS = (str, int, float, bool, type(None))
"""Keys of dicts. The hash of tuples in tuples takes a time, or a depth, that a few hundred bytes can make endless."""


class _Span(NamedTuple):
    """Bytes of the file that were passed over."""

    offset: int
    length: int
    head: bytes


class _Name(NamedTuple):
    """An admitted name; it is never imported."""

    name: str


@dataclass
class _DType:
    """A dtype under construction: pickles set its byte order after they have made it."""

    value: np.dtype


@dataclass
class StoredArray:
    """A numpy array whose contents are still in the file.

    ``dtype`` and ``shape`` are known without reading; shape is ``(...)`` as in the pickle.
    """

    path: Path
    dtype: np.dtype | None = None
    shape: tuple[int, ...] = ()
    order: str = "C"
    offset: int = 0

    def fill(self, dtype: Any, shape: Any, order: str, contents: Any) -> None:
        """Take what the pickle says about the array; anything but plain numbers of the right size is an error."""
        if not isinstance(dtype, _DType) or not isinstance(contents, _Span) or not isinstance(shape, tuple):
            raise ValueError("an array whose values are not plain numbers")
        # sides are looked at before they are multiplied or shown: one may be a number of a million digits
        if len(shape) > _MOST_AXES or not all(type(side) is int and 0 <= side < _LONGEST_SIDE for side in shape):
            raise ValueError("an array of shape (...) with impossible sides")
        if math.prod(shape) * dtype.value.itemsize != contents.length:
            raise ValueError(f"an array of shape {shape} in {contents.length} bytes")
        self.dtype, self.shape, self.order, self.offset = dtype.value, shape, order, contents.offset

    def read(self) -> np.ndarray:
        """The array itself, in the machine's byte order."""
        if self.dtype is None:
            raise UserError(f"{self.path}: damaged, an array without contents")
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            flat = np.fromfile(stream, self.dtype, math.prod(self.shape))
        values = flat.reshape(self.shape, order=self.order)
        return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def load_pickle(path: Path) -> Any:
    """The value in a pickle; its arrays are :class:`StoredArray`.

    Raises:
        UserError: no such file, damaged, or made of more than numbers, text, lists, tuples, dicts and numpy arrays;
            the offending name is in the message.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    machine = _Machine(path)
    try:
        with path.open("rb") as stream:
            for opcode, argument, position in pickletools.genops(stream):
                if opcode.name == "STOP":
                    return machine.stack.pop()
                machine.step(opcode.name, argument, position)
    except UserError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, MemoryError, OverflowError) as error:
        raise UserError(f"{path}: not a readable pickle, or damaged ({error or type(error).__name__})") from None
    raise UserError(f"{path}: damaged, ends too early")


class _Machine:
    """The stack, the marks on it and the memo of one pickle."""

    def __init__(self, path: Path):
        self.path = path
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.actions = {
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            "MARK": lambda _: self.marks.append(len(self.stack)),
            "POP": lambda _: self.stack.pop(),
            "MEMOIZE": lambda _: self._put(len(self.memo)),
            **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), self._put),
            **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda key: self.stack.append(self.memo[key])),
            "LIST": lambda _: self.stack.append(self._since_mark()),
            "TUPLE": lambda _: self.stack.append(tuple(self._since_mark())),
            "TUPLE1": lambda _: self.stack.append(tuple(self._take(1))),
            "TUPLE2": lambda _: self.stack.append(tuple(self._take(2))),
            "TUPLE3": lambda _: self.stack.append(tuple(self._take(3))),
            "DICT": lambda _: self._dict(),
            "APPEND": lambda _: self._extend(self._take(1)),
            "APPENDS": lambda _: self._extend(self._since_mark()),
            "SETITEM": lambda _: self._update(self._take(2)),
            "SETITEMS": lambda _: self._update(self._since_mark()),
            "GLOBAL": lambda names: self._global(*names.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._global(*self._take(2)),
            "REDUCE": lambda _: self._reduce(*self._take(2)),
            "BUILD": lambda _: self._build(*self._take(2)),
        }

    def step(self, opcode: str, argument: Any, position: int) -> None:
        """Run one opcode."""
        if opcode in _PUSH_ARGUMENT:
            self.stack.append(argument)
        elif opcode in _PUSH_NEW:
            self.stack.append(_PUSH_NEW[opcode]())
        elif opcode in _BYTES_HEADER:
            head = bytes(argument[:_SCALAR_BYTES])
            self.stack.append(_Span(position + _BYTES_HEADER[opcode], len(argument), head))
        elif opcode in self.actions:
            self.actions[opcode](argument)
        else:
            raise self._refusal(f"the opcode {opcode}" + (f" of {argument!r}" if argument is not None else ""))

    def _refusal(self, what: str) -> UserError:
        return UserError(
            f"{self.path}: refused, this pickle asks for {what}; expected only numbers, text, lists, tuples, dicts "
            "and numpy arrays of numbers (pickle protocol 3 or newer). If you trust it, load it and save only these"
        )

    def _take(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("too few values")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def _put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def _dict(self) -> None:
        items = self._since_mark()
        self.stack.append({})
        self._update(items)

    def _extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("values appended to something other than a list")
        self.stack[-1].extend(values)

    def _update(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise ValueError("items added to something other than a dict")
        for key in items[::2]:
            if type(key) not in _KEYS:
                raise self._refusal(f"a {type(key).__name__} as the key of a dict")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def _global(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if full not in _ADMITTED:
            raise self._refusal(full)
        self.stack.append(_Name(_ADMITTED[full]))

    def _reduce(self, function: Any, arguments: Any) -> None:
        """The calls that numpy's own pickles make, done by hand."""
        match function, arguments:
            case _Name("dtype"), (str(code), *_):
                self.stack.append(_DType(self._number_type(code)))
            case _Name("_reconstruct"), (_Name("ndarray"), *_):
                self.stack.append(StoredArray(self.path))
            case _Name("_frombuffer"), (contents, dtype, shape, ("C" | "F") as order):
                array = StoredArray(self.path)
                array.fill(dtype, shape, order, contents)
                self.stack.append(array)
            case _Name("scalar"), (_DType(value), _Span(_, length, head)) if length == value.itemsize <= _SCALAR_BYTES:
                self.stack.append(np.frombuffer(head, value)[0].item())
            case _:
                raise self._refusal(f"a call of {getattr(function, 'name', function)!r} that numpy does not make")

    def _build(self, target: Any, state: Any) -> None:
        match target, state:
            case _DType(), (_, ("<" | ">" | "=" | "|") as order, None, None, None, *_):
                target.value = target.value.newbyteorder(order)
            case StoredArray(dtype=None), (_, shape, dtype, bool(fortran), _Span() as contents):
                target.fill(dtype, shape, "F" if fortran else "C", contents)
            case _:
                raise self._refusal(f"a change of a {type(target).__name__} that numpy does not make")
        self.stack.append(target)

    def _number_type(self, code: str) -> np.dtype:
        if code.startswith("O"):
            raise self._refusal("an array of objects")
        if not re.fullmatch(r"[biuf]\d{1,2}", code):
            raise self._refusal(f"an array of {code!r}")
        return np.dtype(code)
