"""What the reader of foreign pickles takes, and that it runs nothing."""

import _codecs
import builtins
import collections
import io
import os
import pickle
import pickletools
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from cjepa.data.converters.unpickle import StoredArray, load_pickle
from cjepa.errors import UserError


@pytest.fixture
def stored(tmp_path):
    """Puts bytes (or a value, pickled) into a file and returns its path."""

    def store(content, protocol: int = 4) -> Path:
        path = tmp_path / "some.pkl"
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
        return path

    return store


def arrays_read(value):
    """The same value with its arrays read."""
    if isinstance(value, StoredArray):
        return value.read()
    if isinstance(value, dict):
        return {key: arrays_read(entry) for key, entry in value.items()}
    return type(value)(map(arrays_read, value)) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        np.arange(40)[::3],
        np.zeros((0, 4), np.uint8),
        np.array([True, False]),
        np.float16([np.nan, np.inf]),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_arrays_come_back_bit_by_bit(array, protocol, stored):
    found = arrays_read(load_pickle(stored({"split": {"a": array, "again": array}}, protocol)))["split"]
    for name in ("a", "again"):
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_back(protocol, stored):
    value = {"a": [1, -2, 2**70, 0.5, True, None, "text ü" * 100], "b": (1, (2, 3, 4), ()), 3: {}, "c": [[], {"d": 1}]}
    assert load_pickle(stored(value, protocol)) == value


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_numpy_scalars_come_back_as_numbers(protocol, stored):
    found = load_pickle(stored([np.int64(7), np.float32(0.5), np.bool_(True)], protocol))
    assert found == [7, 0.5, True] and [type(value) for value in found] == [int, float, bool]


def test_many_arrays_share_names_and_dtypes(stored):
    """A pickle names numpy's functions once and refers back to them."""
    value = {f"{index}.mp4": np.full((3, 2), index, np.float32) for index in range(2500)}
    found = load_pickle(stored({"train": value}))["train"]
    assert list(found) == list(value)
    assert all((found[name].read() == value[name]).all() for name in value)


def test_contents_stay_in_the_file(stored):
    large = np.random.default_rng(0).normal(size=(50, 40_000)).astype(np.float32)
    path = stored({str(index): row for index, row in enumerate(large)})
    tracemalloc.start()
    found = load_pickle(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * large[0].nbytes < large.nbytes / 6
    np.testing.assert_array_equal(found["49"].read(), large[49])


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Built:
    """Pickles as an array of one value with such contents."""

    def __init__(self, dtype, contents):
        self.state = (1, (1,), dtype, False, contents)

    def __reduce__(self):
        return np.zeros(0).__reduce__()[0], (np.ndarray, (0,), b"b"), self.state


class ArrayKind(np.ndarray):
    """A subclass of numpy's array."""


def touch(path: str) -> None:
    Path(path).write_text("run")


EVIL = {
    "os.system": (Calls(os.system, "touch ran"), "posix.system"),
    "eval": (Calls(builtins.eval, "open('ran', 'w')"), "builtins.eval"),
    "exec": (Calls(builtins.exec, "open('ran', 'w')"), "builtins.exec"),
    "getattr": (Calls(getattr, "a", "upper"), "builtins.getattr"),
    "own function": (Calls(touch, "ran"), "tests.data.converters.test_unpickle.touch"),
    "numpy.fromfile": (Calls(np.fromfile, "ran"), "fromfile"),
    "numpy.load": (Calls(np.load, "ran"), "numpy.load"),
    "numpy's runner of text": (b"cnumpy.testing._private.utils\nrunstring\n(Vopen('ran', 'w')\n}tR.", "runstring"),
    "numpy.memmap": (Calls(np.memmap, "ran", "uint8", "w+"), "numpy.memmap"),
    "nested": ({"train": {"a": np.zeros(3), "b": [(1, Calls(os.system, "touch ran"))]}}, "posix.system"),
    "as a key": (b"\x80\x04}cos\nsystem\n(Vtouch ran\ntRK\x01s.", "os.system"),
    "only named": ({"a": os.system}, "posix.system"),
    "array of objects": (np.array([Calls(os.system, "touch ran")], object), "array of objects"),
    "array of plain objects": (np.array([{}, []], object), "array of objects"),
    "objects in an array of numbers": (Built(np.dtype("f4"), [Calls(touch, "ran")]), "touch"),
    "a list in an array of numbers": (Built(np.dtype("f4"), [1.0]), "change of"),
    "structured array": (np.zeros(3, [("a", "f4"), ("b", "O")]), "array of"),
    "array of text": (np.array(["a"]), "array of"),
    "array subclass": (np.zeros(3).view(ArrayKind), "ArrayKind"),
    "codecs": (Calls(_codecs.encode, "touch ran", "latin1"), "_codecs.encode"),
    "array of protocol 2": (pickle.dumps(np.zeros(3), 2), "_codecs.encode"),
    "an object": (Path("ran"), "pathlib"),
    "an object with a state": (io.BytesIO(b"ran"), "BytesIO"),
    "a dict's subclass": (collections.OrderedDict(a=1), "OrderedDict"),
    "a set": ({1, 2}, "EMPTY_SET"),
    "a tensor": (torch.zeros(3), "torch._utils._rebuild_tensor_v2"),
    "an opcode for objects": (b"(S'touch ran'\nios\nsystem\n.", "STRING"),
    "INST": (b"(Vtouch ran\nios\nsystem\n.", "INST"),
    "OBJ": (b"(cos\nsystem\nVtouch ran\no.", "os.system"),
    "NEWOBJ": (b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ"),
    "a persistent id": (b"Vx\nQ.", "BINPERSID"),
    "an extension": (b"\x80\x02\x82\x01.", "EXT1"),
    "a buffer elsewhere": (b"\x80\x05\x97.", "NEXT_BUFFER"),
    "reconstruct of another class": (
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(K\x00tC\x01btR.",
        "call of",
    ),
    "a call of ndarray": (b"cnumpy\nndarray\n(K\x01tR.", "call of"),
    "dtype of an object": (b"cnumpy\ndtype\n(VO8\nI00\nI01\ntR.", "objects"),
    "dtype of code": (b"cnumpy\ndtype\n(V__import__('os')\nI00\nI01\ntR.", "array of"),
    "a state for a dict": (b"}}b.", "change of"),
}


@pytest.mark.parametrize("what", EVIL)
def test_what_asks_for_more_is_refused_and_named(what, stored, tmp_path, monkeypatch):
    value, named = EVIL[what]
    path = stored(value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="refused") as refusal:
        load_pickle(path)
    assert named in str(refusal.value) and str(path) in str(refusal.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["some.pkl"]


def test_no_module_is_imported(stored):
    sys.modules.pop("wave", None)
    with pytest.raises(UserError, match="wave.open"):
        load_pickle(stored(b"cwave\nopen\n."))
    assert "wave" not in sys.modules


ARRAY = pickle.dumps({"train": {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}}, 4)


def test_every_shortening_is_refused(stored):
    for end in range(len(ARRAY)):
        with pytest.raises(UserError):
            load_pickle(stored(ARRAY[:end]))


def test_any_change_of_a_byte_is_refused_or_harmless(stored):
    """Whatever is in the file, the only ways out are a value and a UserError."""
    rng = np.random.default_rng(0)
    for position in range(len(ARRAY)):
        damaged = bytearray(ARRAY)
        damaged[position] = rng.integers(256)
        try:
            arrays_read(load_pickle(stored(bytes(damaged))))
        except UserError:
            pass


def test_claims_beyond_the_file_are_refused(stored):
    (at,) = (
        position for opcode, _, position in pickletools.genops(ARRAY) if opcode.name == "SHORT_BINBYTES" and _ != b"b"
    )
    contents = ARRAY[at + 2 : at + 2 + 24]
    for claimed in (2**20, 2**62, 2**64 - 1):
        huge = ARRAY[:at].replace(b"\x95", b"\x95", 1) + b"\x8e" + claimed.to_bytes(8, "little") + contents
        with pytest.raises(UserError):
            load_pickle(stored(huge))


@pytest.mark.parametrize("shape", [(3, 3), (-1, 6), (-2, -3), (2, 3, 0), (2**40, 2**40), (2.0, 3)])
def test_a_shape_that_does_not_fit_its_bytes_is_refused(shape, stored):
    array = Built(np.dtype("f4"), b"\0" * 24)
    array.state = (1, shape, *array.state[2:])
    with pytest.raises(UserError, match="array of shape"):
        load_pickle(stored(array))


def test_an_array_without_contents_is_refused(stored):
    content = b"\x80\x04cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR."
    with pytest.raises(UserError, match="without contents"):
        load_pickle(stored(content)).read()


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n", b".", b"K\x01K\x02."])
def test_files_that_are_no_pickles(content, stored):
    if content.endswith(b"\x02."):
        assert load_pickle(stored(content)) == 2  # values below the top are nobody's
        return
    with pytest.raises(UserError, match="some.pkl"):
        load_pickle(stored(content))


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_pickle(tmp_path / "none.pkl")


def doubled(times: int) -> bytes:
    """A dict whose key is a tuple of one tuple twice, ``times`` deep: the hash of it takes 2**times steps."""
    twice = (b"\x940h" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(times))
    return b"\x80\x04})" + b"".join(twice) + b"K\x01s."


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        doubled(60),
        b"\x80\x04}(" + b")" + b"\x85" * 300_000 + b"K\x01u.",
        pickle.dumps({(1, 2): 3}),
    ],
    ids=["tuples twice in tuples", "tuples in tuples", "a tuple"],
)
def test_keys_that_are_tuples_are_refused_before_they_are_hashed(stored, content):
    with pytest.raises(UserError, match="some.pkl: refused, .* a tuple as the key of a dict"):
        load_pickle(stored(content))


def test_an_array_of_a_shape_that_no_array_has(stored):
    content = pickle.dumps(np.zeros((2, 3), np.uint8), 4)
    huge = b"\x8b" + (4_000_000).to_bytes(4, "little") + b"\x01" * 4_000_000
    assert content.count(b"K\x02K\x03\x86") == 1
    content = content[:2] + content[11:].replace(b"K\x02K\x03\x86", huge + b"K\x03\x86")  # without the frame
    with pytest.raises(UserError, match="impossible sides") as raised:
        load_pickle(stored(content))
    assert len(str(raised.value)) < 500
