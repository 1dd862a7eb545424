import h5py
import numpy as np
import pytest

from cjepa.data.converters.base import convert, open_source
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.errors import UserError
from tests.conftest import ignore_progress
from tests.data.converters.episodes import an_episode
from tests.data.converters.sources import swm_hdf5


def converted(source, out) -> EpisodeFile:
    return convert(open_source("swm-hdf5", source, {}), out, ignore_progress)


def test_values_are_those_of_the_source(tmp_path):
    file = converted(swm_hdf5(tmp_path, 3), tmp_path / "out.h5")
    for index, found in enumerate(file.episodes()):
        expected = an_episode(index)
        for name in ("pixels", "proprio", "state"):
            np.testing.assert_array_equal(found[name], expected[name])
        np.testing.assert_array_equal(found["action"][:-1], expected["action"][:-1])
        assert not found["action"][-1].any()  # nothing was done after the last frame
        assert found["reward"].tolist() == list(range(len(found["reward"])))


def test_what_is_left_out_is_said(tmp_path):
    source = open_source("swm-hdf5", swm_hdf5(tmp_path, 3), {})
    assert source.left_out == ["task"] and "task" not in source.columns


def test_episodes_are_where_ep_offset_says(tmp_path):
    path = swm_hdf5(tmp_path, 3)
    with h5py.File(path, "r+") as file:
        for name in ("ep_len", "ep_offset"):
            file[name][...] = file[name][:][::-1]
    file = converted(path, tmp_path / "out.h5")
    for index, found in enumerate(file.episodes()):
        np.testing.assert_array_equal(found["state"], an_episode(2 - index)["state"])


def damage_index(file):
    file["ep_len"][1] = 0


def cut_column(file):
    file["state"].resize(40, axis=0)


def lengthen_column(file):
    file["state"].resize(82, axis=0)


def overlap(file):
    file["ep_offset"][1] -= 1


def leave_a_row_out(file):
    file["ep_len"][0] -= 1


def leave_the_last_row_out(file):
    file["ep_len"][2] -= 1


def cut_offsets(file):
    del file["ep_offset"]


def add_group(file):
    file.create_group("extra")


def early_nan(file):
    file["action"][0] = np.nan


def nan_state(file):
    file["state"][int(file["ep_offset"][1]) + 2, 3] = np.nan


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_index, "ep_len of episode 1 is 0"),
        (cut_column, "column 'state' has 40 rows, but the episodes have 81"),
        (lengthen_column, "column 'state' has 82 rows, but the episodes have 81"),
        (overlap, "episodes overlap or rows belong to no episode"),
        (leave_a_row_out, "episodes overlap or rows belong to no episode"),
        (leave_the_last_row_out, "column 'action' has 81 rows, but the episodes have 80"),
        (cut_offsets, "no 'ep_offset'"),
        (add_group, "'extra' is <HDF5 group"),
        (early_nan, "episode 0, column 'action', row 0: not a finite number"),
        (nan_state, "episode 1, column 'state', row 2: not a finite number"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(damage, message, tmp_path):
    path = swm_hdf5(tmp_path, 3)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(UserError, match=message):
        converted(path, tmp_path / "out.h5")
    assert {entry.name for entry in tmp_path.iterdir()} - {"out.h5.parts"} == {"swm.h5"}
