"""Pickles that ask for more than weights: nothing runs, nothing grows beyond the file."""

import os
import pickle

import pytest
import torch

from cjepa.artifacts.pickled_modules import open_weights
from cjepa.errors import UserError
from tests.test_tensor_files import DOUBLED, NESTED, as_key, save_zip


class Runs:
    """Asks for a command to be run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_what_a_file_names_is_not_run(tmp_path):
    torch.save({"weights": torch.ones(2), "runs": Runs(tmp_path / "made")}, tmp_path / "file.pt")
    stored = open_weights(tmp_path / "file.pt")
    assert list(stored.tensors) == ["weights"] and not (tmp_path / "made").exists()
    assert stored.read("weights").tolist() == [1.0, 1.0]


def test_views_and_types(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    values = {"turned": base.T, "row": base[1], "half": base.half(), "double": base.double(), "count": torch.tensor(3)}
    torch.save(values, tmp_path / "file.pt")
    stored = open_weights(tmp_path / "file.pt")
    assert set(stored.tensors) == {"turned", "row", "half", "double"}
    for name in stored.tensors:
        assert torch.equal(stored.read(name), values[name].float())


@pytest.mark.parametrize("value", [NESTED, DOUBLED], ids=["nested", "doubled"])
def test_tuples_in_tuples(value, tmp_path):
    with pytest.raises(UserError, match=r"file\.pt: not readable as weights \(it makes a tuple"):
        open_weights(save_zip(tmp_path / "file.pt", as_key(value)))


@pytest.mark.parametrize(("shape", "strides"), [((2**30, 2**30), (0, 0)), ((3, 3), (3, 1)), ((0,), (1,))])
def test_a_tensor_of_more_values_than_are_stored(shape, strides, tmp_path):
    class Larger:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (torch.ones(4).storage(), 0, shape, strides, False, {})

    torch.save({"weights": Larger()}, tmp_path / "file.pt")
    with pytest.raises(UserError, match="weights: a tensor .* of which fewer values are stored"):
        open_weights(tmp_path / "file.pt").read("weights")


@pytest.mark.parametrize("storage", [("file/data/0", 5), (5, torch.float32)])
def test_a_tuple_in_place_of_a_storage(storage, tmp_path):
    class Stored:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (storage, 0, (1,), (1,), False, {})

    torch.save({"first": torch.ones(1), "weights": Stored()}, tmp_path / "file.pt")
    with pytest.raises(UserError, match=r"file\.pt: not readable as weights \(a tensor without a storage\)"):
        open_weights(tmp_path / "file.pt")


@pytest.mark.parametrize("content", [b"", b"\x80\x02K\x01.", pickle.dumps({"weights": 1.0}, 2)])
def test_what_has_no_weights(content, tmp_path):
    with pytest.raises(UserError, match=r"file\.pt: "):
        open_weights(save_zip(tmp_path / "file.pt", content))


def test_modules_without_end(tmp_path):
    """A module that is its own child."""
    whole = torch.nn.Module()
    whole.add_module("self", whole)
    torch.save(whole, tmp_path / "file.pt")
    with pytest.raises(UserError, match="modules deeper than"):
        open_weights(tmp_path / "file.pt")
