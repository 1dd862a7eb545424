from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cjepa.data.collect import Collection, collect
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.envs.pusht.env import PushT
from cjepa.envs.pusht.policy import PushTBehaviour
from cjepa.errors import UserError
from tests.conftest import RecordedProgress, ignore_progress

JOB = Collection("cjepa/PushT-v0", PushTBehaviour(), episodes=7, episode_env_steps=6, seed=5)


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> EpisodeFile:
    return collect(JOB, tmp_path_factory.mktemp("reference") / "a.h5", {}, 1, ignore_progress)


def assert_same(ours: EpisodeFile, theirs: EpisodeFile) -> None:
    assert ours.columns == theirs.columns
    for name in ours.columns:
        np.testing.assert_array_equal(ours.read(name, 0, ours.env_steps), theirs.read(name, 0, theirs.env_steps))
    assert ours.fingerprint == theirs.fingerprint


def test_columns_and_lengths(reference):
    assert reference.lengths.tolist() == [6] * 7
    assert {name: (shape[1:], str(dtype)) for name, (shape, dtype) in reference.columns.items()} == {
        "pixels": ((64, 64, 3), "uint8"),
        "masks": ((64, 64), "uint8"),
        "action": ((2,), "float32"),
        "proprio": ((4,), "float32"),
        "state": ((7,), "float32"),
        "objects": ((2, 6), "float32"),
        "contacts": ((2, 2), "uint8"),
    }


def test_row_t_holds_the_frame_and_the_action_taken_from_it(reference):
    env = PushT()
    for episode in reference.episodes():
        env.set_state(episode["state"][0].astype(np.float64))
        for t, action in enumerate(episode["action"]):
            # the start was a float64 state, so the pictures and states agree up to rounding
            np.testing.assert_allclose(env.get_state(), episode["state"][t], atol=0.05)
            np.testing.assert_array_equal(episode["proprio"][t], episode["state"][t, [0, 1, 5, 6]])
            assert (env.render_labels() != episode["masks"][t]).mean() < 0.005
            np.testing.assert_array_equal(env.contacts(), episode["contacts"][t])
            env.advance(action)


@pytest.mark.slow
def test_two_workers_give_the_same_bytes(tmp_path, reference):
    progress = RecordedProgress()
    file = collect(JOB, tmp_path / "b.h5", {}, 2, progress)
    assert_same(file, reference)
    assert progress.amounts == [6] * 7 and all(progress.new)
    assert progress.notes[-1] == f"{reference.read('contacts', 0, 42)[:, 0, 1].sum()} contacts"


def test_the_number_of_episodes_changes_none(tmp_path, reference):
    file = collect(replace(JOB, episodes=3), tmp_path / "b.h5", {}, 1, ignore_progress)
    np.testing.assert_array_equal(file.read("pixels", 0, 18), reference.read("pixels", 0, 18))


def test_the_seed_decides(tmp_path, reference):
    file = collect(replace(JOB, seed=6), tmp_path / "b.h5", {}, 1, ignore_progress)
    assert file.fingerprint != reference.fingerprint
    starts = np.concatenate([f.read("state", 0, 42)[::6] for f in (file, reference)])
    assert len(np.unique(starts, axis=0)) == 14


def collect_and_interrupt(job: Collection, out: Path, episodes: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        collect(job, out, {}, 1, RecordedProgress(interrupt_at=episodes))
    assert not out.exists()


def news_of(job: Collection, out: Path, resume: bool = True) -> list[bool]:
    """Which episodes this run makes itself."""
    progress = RecordedProgress()
    collect(job, out, {}, 1, progress, resume)
    return progress.new


@pytest.mark.parametrize(("resume", "news"), [(True, [False] * 4 + [True] * 3), (False, [True] * 7)])
def test_an_interrupted_run_goes_on_where_it_was(tmp_path, reference, resume, news):
    out = tmp_path / "b.h5"
    collect_and_interrupt(JOB, out, 2)
    collect_and_interrupt(JOB, out, 4)
    assert news_of(JOB, out, resume) == news
    assert_same(EpisodeFile(out), reference)
    assert [path.name for path in tmp_path.iterdir()] == ["b.h5"]


@pytest.mark.parametrize(
    "change", [{"seed": 6}, {"policy": PushTBehaviour(noise=0.5)}, {"with_masks": False}, {"episode_env_steps": 5}]
)
def test_episodes_of_another_job_are_not_used(tmp_path, reference, change):
    collect_and_interrupt(replace(JOB, **change), tmp_path / "b.h5", 3)
    assert news_of(JOB, tmp_path / "b.h5") == [True] * 7
    assert_same(EpisodeFile(tmp_path / "b.h5"), reference)
    assert len(list((tmp_path / "b.h5.parts").glob("*.part"))) == 3  # they are the other job's


def test_another_number_of_episodes_uses_those_that_are_there(tmp_path, reference):
    collect_and_interrupt(JOB, tmp_path / "b.h5", 5)
    assert news_of(replace(JOB, episodes=2), tmp_path / "b.h5") == [False] * 2
    np.testing.assert_array_equal(EpisodeFile(tmp_path / "b.h5").read("state", 0, 12), reference.read("state", 0, 12))
    assert [path.name for path in tmp_path.iterdir()] == ["b.h5"]


def test_a_damaged_part_is_made_anew(tmp_path, reference):
    collect_and_interrupt(JOB, tmp_path / "b.h5", 3)
    first, second, third = sorted((tmp_path / "b.h5.parts").glob("*.part"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-100])
    assert news_of(JOB, tmp_path / "b.h5") == [True, True, False] + [True] * 4
    assert_same(EpisodeFile(tmp_path / "b.h5"), reference)


def test_a_finished_file_is_left_as_it_is(tmp_path, reference):
    out = tmp_path / "b.h5"
    collect(JOB, out, {}, 1, ignore_progress)
    before = out.stat()
    assert news_of(JOB, out) == []
    for job, resume, hint in (
        (replace(JOB, seed=6), True, "made by another command"),
        (replace(JOB, episodes=8), True, "another"),
        (JOB, False, "--no_resume"),
    ):
        with pytest.raises(UserError, match=hint):
            collect(job, out, {}, 1, ignore_progress, resume)
    assert out.stat() == before and list(tmp_path.iterdir()) == [out]


def test_masks_can_be_left_out(tmp_path):
    job = replace(JOB, episodes=1, with_masks=False, env_kwargs={"image_size": 96})
    file = collect(job, tmp_path / "b.h5", {"note": "x"}, 1, ignore_progress)
    assert "masks" not in file.columns
    assert file.columns["pixels"][0] == (6, 96, 96, 3)
    assert file.attributes["note"] == "x"


def test_an_existing_file_is_not_overwritten(tmp_path):
    out = tmp_path / "b.h5"
    out.write_text("precious")
    with pytest.raises(UserError, match="b.h5"):
        collect(JOB, out, {}, 1, ignore_progress)
    assert out.read_text() == "precious"
