"""Small files of `torch.save` that would end the process, or never end, are refused before torch reads them."""

import pickle
import zipfile

import pytest
import torch

from cjepa.errors import UserError
from cjepa.tensor_files import MAX_TUPLE_VALUES, check_plain_tensor, load_tensors

NESTED = b")" + b"\x85" * 300_000
"""An empty tuple in 300,000 tuples."""
DOUBLED = b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(120))
"""A tuple of twice the tuple before, 120 times."""


def as_key(value: bytes) -> bytes:
    return b"\x80\x02}" + value + b"K\x01s."


def save_zip(path, content: bytes, compression: int = zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
    return path


def save_legacy(path, content: bytes):
    """As torch before 1.6."""
    header = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
    path.write_bytes(b"".join(pickle.dumps(value, 2) for value in header) + content + pickle.dumps([], 2))
    return path


@pytest.mark.parametrize("value", [NESTED, DOUBLED], ids=["nested", "doubled"])
@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_tuples_in_tuples(save, value, tmp_path):
    with pytest.raises(UserError, match="file.pt: not a file of tensors, or damaged"):
        load_tensors(save(tmp_path / "file.pt", as_key(value)))


def test_a_pickle_that_unpacks_to_more_than_its_file(tmp_path):
    path = save_zip(tmp_path / "file.pt", b"\x80\x02" + b"N" * 10_000_000 + b".", zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="archive/data.pkl is compressed"):
        load_tensors(path)


@pytest.mark.parametrize(
    "value",
    [
        torch.eye(2).to_sparse(),
        torch.zeros(2, device="meta"),
        bytearray(3),
    ],
    ids=["sparse", "meta", "bytearray"],
)
def test_what_is_not_a_plain_tensor(value, tmp_path):
    torch.save([value], tmp_path / "file.pt")
    with pytest.raises(UserError, match="it asks for"):
        load_tensors(tmp_path / "file.pt")


def test_a_tensor_of_more_values_than_are_stored():
    with pytest.raises(UserError, match="here: a tensor .* of which fewer values are stored"):
        check_plain_tensor("here", torch.zeros(1).expand(10**12))
    check_plain_tensor("here", torch.arange(6).reshape(2, 3).T)


@pytest.mark.parametrize("mmap", [False, True])
def test_what_is_saved_comes_back(mmap, tmp_path):
    value = {
        "state_dict": {"half": torch.arange(3).half(), "one": torch.nn.Parameter(torch.ones(2))},
        (1, (2, 3)): tuple(range(MAX_TUPLE_VALUES - 1)),
        "flags": [True, None, 1.5, "text"],
    }
    torch.save(value, tmp_path / "file.pt")
    found = load_tensors(tmp_path / "file.pt", mmap=mmap)
    weights = value.pop("state_dict"), found.pop("state_dict")
    assert found == value and all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
