import shutil
import zipfile

import numpy as np
import pytest

from cjepa.data.converters.base import convert, open_source
from cjepa.data.converters.swm_video import NpzRows
from cjepa.errors import UserError
from cjepa.reporting.videos import write_video
from tests.conftest import ignore_progress
from tests.data.converters.episodes import FPS, an_episode, frames
from tests.data.converters.sources import swm_video


def test_values_are_those_of_the_source(tmp_path):
    file = convert(open_source("swm-video", swm_video(tmp_path, 3), {}), tmp_path / "out.h5", ignore_progress)
    for index, found in enumerate(file.episodes()):
        expected = an_episode(index)
        for name in ("proprio", "state"):
            np.testing.assert_array_equal(found[name], expected[name])
        np.testing.assert_array_equal(found["action"][:-1], expected["action"][:-1])
        assert not found["action"][-1].any()
        # the codec loses a little; a frame too early or too late is further off
        errors = [np.abs(found["pixels"].astype(int) - np.roll(expected["pixels"], by, 0)).mean() for by in (-1, 0, 1)]
        assert errors[1] < 3 and errors[1] == min(errors)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_of_an_npz_come_one_after_the_other(save, tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 2, 3))
    save(tmp_path / "a.npz", values)
    rows = NpzRows(tmp_path / "a.npz")
    found = [rows.read(count) for count in (1, 30, 0, 19)]
    np.testing.assert_array_equal(np.concatenate(found), values)
    with pytest.raises(UserError, match="ends too early"):
        rows.read(1)


def test_objects_in_an_npz_are_left_out_unread(tmp_path):
    """Reading them would run a pickle."""
    source = swm_video(tmp_path, 3)
    rows = sum(len(an_episode(index)["action"]) for index in range(3))
    np.savez(source / "notes.npz", np.array([{}] * rows, object))
    converter = open_source("swm-video", source, {})
    file = convert(converter, tmp_path / "out.h5", ignore_progress)
    assert converter.left_out == ["notes", "task"] and "notes" not in file.columns


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory):
    return swm_video(tmp_path_factory.mktemp("source"), 3)


def too_long(root):
    write_video(root / "pixels" / "ep_1.mp4", frames(1, 60), FPS)


def too_short(root):
    write_video(root / "pixels" / "ep_1.mp4", frames(1, 5), FPS)


def no_video(root):
    (root / "pixels" / "ep_2.mp4").unlink()


def no_movie(root):
    (root / "pixels" / "ep_0.mp4").write_text("hello")


def cut_video(root):
    content = (root / "pixels" / "ep_1.mp4").read_bytes()
    (root / "pixels" / "ep_1.mp4").write_bytes(content[: len(content) * 2 // 3])


def short_table(root):
    np.savez(root / "state.npz", np.zeros((10, 7), np.float32))


def cut_table(root):
    content = (root / "state.npz").read_bytes()
    (root / "state.npz").write_bytes(content[:500])


def other_archive(root):
    with zipfile.ZipFile(root / "state.npz", "w") as archive:
        archive.writestr("other.txt", "hello")


def fortran(root):
    np.savez(root / "state.npz", np.asfortranarray(np.zeros((81, 7))))


def offsets(root):
    np.savez(root / "ep_offset.npz", np.array([0, 1, 2]))


def real_lengths(root):
    np.savez(root / "ep_len.npz", np.array([24.0, 27.0, 30.0]))


def encrypted(source):
    """The flag of encryption in both headers, which zipfile looks at before anything else."""
    path = source / "state.npz"
    content = bytearray(path.read_bytes())
    for signature, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flag] |= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (too_long, "ep_1.mp4: more than 27 frames, the length of episode 1"),
        (too_short, "ep_1.mp4: ends after 5 frames"),
        (no_video, "ep_2.mp4: no such video"),
        (no_movie, "ep_0.mp4: ffmpeg cannot read this video"),
        (cut_video, "ep_1.mp4"),
        (short_table, "state.npz: 10 rows, but the episodes have 81"),
        (cut_table, "state.npz: not an .npz file"),
        (other_archive, "state.npz: not an .npz file with one array"),
        (encrypted, "state.npz: not an .npz file with one array .*encrypted"),
        (fortran, "state.npz: expected an array in C order"),
        (offsets, "ep_offset.npz: offsets do not match the lengths"),
        (real_lengths, "ep_len.npz: float64 .*expected a list of integers"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(damage, message, undamaged, tmp_path):
    source = shutil.copytree(undamaged, tmp_path / "swm_video")
    damage(source)
    with pytest.raises(UserError, match=message):
        convert(open_source("swm-video", source, {}), tmp_path / "out.h5", ignore_progress)
    assert {entry.name for entry in tmp_path.iterdir()} - {"out.h5.parts"} == {"swm_video"}
