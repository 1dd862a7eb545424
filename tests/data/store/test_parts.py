"""Parts hold one finished episode each; a damaged one counts as none."""

import numpy as np
import pytest

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.parts import ResumableWriter, complete_file, read_part, write_part
from cjepa.data.store.verify import verify_data
from cjepa.errors import UserError
from tests.conftest import ignore_progress


def an_episode(number: int, rows: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {
        "pixels": rng.integers(0, 256, (rows, 8, 8, 3), dtype=np.uint8),
        "action": rng.random((rows, 2), np.float32),
    }


def assert_equal(ours: dict, theirs: dict) -> None:
    assert set(ours) == set(theirs)
    for name, values in theirs.items():
        assert ours[name].dtype == values.dtype
        np.testing.assert_array_equal(ours[name], values)


def writer_of(out, job: str = "job", resume: bool = True) -> ResumableWriter:
    return ResumableWriter(out, "cjepa-episodes", {}, job, resume)


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_round_trip(tmp_path, rows):
    episode = an_episode(0, rows)
    episode["mirrored"] = episode["pixels"][:, :, ::-1]  # not contiguous
    episode |= {"half": episode["action"].astype(np.float16), "step": np.arange(rows), "done": np.zeros(rows, bool)}
    write_part(tmp_path / "a.part", episode)
    read = read_part(tmp_path / "a.part")
    assert_equal(read, episode)
    assert all(values.flags.writeable for values in read.values())
    assert [path.name for path in tmp_path.iterdir()] == ["a.part"]


def test_parts_of_earlier_versions_are_not_read_and_deleted_with_their_own_job_only(tmp_path):
    out = tmp_path / "a.h5"
    interrupted(out, "job")
    (part,) = (tmp_path / "a.h5.parts").glob("0*.part")
    old, others = part.with_suffix(".h5"), part.with_name(f"0000000-{'0' * 16}.h5")
    part.rename(old)
    others.write_bytes(b"HDF5")
    with writer_of(out) as writer:
        assert not writer.has(0)
        write_part(writer.part(0), an_episode(0))
        writer.append_part(0)
    assert not old.exists() and others.read_bytes() == b"HDF5"


def test_any_flipped_byte_and_any_cut_is_damage(tmp_path):
    path = tmp_path / "a.part"
    write_part(path, an_episode(0))
    content = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(content), 100):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert read_part(path) is None
        path.write_bytes(content[:place])
        assert read_part(path) is None
    assert read_part(tmp_path / "none.part") is None


def test_the_file_is_that_of_its_parts_in_the_order_in_which_they_are_appended(tmp_path):
    out = tmp_path / "folder" / "a.h5"
    with writer_of(out) as writer:
        for number in (1, 0):
            write_part(writer.part(number), an_episode(number))
        assert [writer.has(number) for number in range(3)] == [True, True, False]
        for number in (0, 1):
            assert_equal(writer.append_part(number), an_episode(number))
        with pytest.raises(UserError, match="0000002.*repeat the command"):
            writer.append_part(2)
        assert not out.exists()
    for number, episode in enumerate(EpisodeFile(out).episodes()):
        assert_equal(episode, an_episode(number))
    assert verify_data(out, ignore_progress) is None
    assert [path.name for path in out.parent.iterdir()] == ["a.h5"]


def interrupted(out, job: str) -> None:
    with pytest.raises(KeyboardInterrupt), writer_of(out, job) as writer:
        write_part(writer.part(0), an_episode(0))
        for name in (".0000001-abc.99.partial.part", "0000001.part.99.partial"):  # the second as of earlier versions
            (writer.folder / name).write_text("of a killed process")
        raise KeyboardInterrupt


@pytest.mark.parametrize(("resume", "there"), [(True, True), (False, False)])
def test_what_the_next_run_finds(tmp_path, resume, there):
    interrupted(tmp_path / "a.h5", "job")
    with writer_of(tmp_path / "a.h5", "job", resume) as writer:
        assert writer.has(0) == there
        assert not list(writer.folder.glob("*0000001*"))
        write_part(writer.part(0), an_episode(0))
        writer.append_part(0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("resume", [True, False])
def test_parts_of_another_job_are_neither_used_nor_deleted(tmp_path, resume):
    out, others = tmp_path / "a.h5", writer_of(tmp_path / "a.h5", "other").part(0)
    interrupted(out, "other")
    with writer_of(out, "job", resume) as writer:
        assert not writer.has(0)
        write_part(writer.part(0), an_episode(1))
        writer.append_part(0)
    assert_equal(EpisodeFile(out).episode(0), an_episode(1))
    assert complete_file(out, "job", 1, True) is not None
    assert list(others.parent.glob("*.part")) == [others]
    assert_equal(read_part(others), an_episode(0))
    out.unlink()
    with writer_of(out, "other") as writer:
        writer.append_part(0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_nothing_finished_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), writer_of(tmp_path / "a.h5"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_one_process_at_a_time(tmp_path):
    out = tmp_path / "a.h5"
    with writer_of(out) as writer:
        write_part(writer.part(0), an_episode(0))
        for resume in (True, False):
            with pytest.raises(UserError, match="making .*a.h5 already runs"):
                writer_of(out, resume=resume).__enter__()
        writer.append_part(0)
    assert len(EpisodeFile(out)) == 1


def test_what_is_there_already(tmp_path):
    out = tmp_path / "a.h5"
    assert complete_file(out, "job", 1, True) is None
    with writer_of(out) as writer:
        write_part(writer.part(0), an_episode(0))
        writer.append_part(0)
    assert complete_file(out, "job", 1, True).fingerprint == EpisodeFile(out).fingerprint
    for words, told in ((("other", 1, True), "made by another command"), (("job", 2, True), "made by another command"),
                        (("job", 1, False), "leave out --no_resume")):  # fmt: skip
        with pytest.raises(UserError, match=told):
            complete_file(out, *words)
    out.write_text("precious")
    with pytest.raises(UserError, match="a.h5 already exists; choose another name or delete it first"):
        complete_file(out, "job", 1, True)
    assert out.read_text() == "precious"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    out = tmp_path / "a.h5"
    with pytest.raises(UserError, match="a.h5 was created by another process"), writer_of(out) as writer:
        write_part(writer.part(0), an_episode(0))
        writer.append_part(0)
        out.write_text("precious")
    assert out.read_text() == "precious"
    assert len(list((tmp_path / "a.h5.parts").glob("*.part"))) == 1  # what was finished stays
    with pytest.raises(UserError, match="a.h5 was created by another process"):
        writer_of(out).__enter__()
    assert len(list((tmp_path / "a.h5.parts").glob("*.part"))) == 1


def test_parts_of_another_edition_are_made_again(tmp_path, caplog):
    out = tmp_path / "a.h5"
    with pytest.raises(KeyboardInterrupt), ResumableWriter(out, "cjepa-episodes", {}, "job", edition="1") as writer:
        write_part(writer.part(0), an_episode(0))
        raise KeyboardInterrupt
    with ResumableWriter(out, "cjepa-episodes", {}, "job", edition="2") as writer:
        assert not writer.has(0) and "the source has changed" in caplog.text
        write_part(writer.part(0), an_episode(1))
        writer.append_part(0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert complete_file(out, "job", None, edition="2") is not None
    with pytest.raises(UserError, match="made by another command"):
        complete_file(out, "job", None, edition="1")
