import json
import os

import numpy as np
import pytest
import torch

from cjepa.bench import loader
from cjepa.bench.readers import READERS, ReadJob, loader_of, read_round
from cjepa.cli import main

SMALL = ["--clips=16", "--rounds=2", "--batch_size=8", "--cores=1"]


@pytest.fixture
def job(episodes_path, tmp_path) -> ReadJob:
    every_core = os.cpu_count()  # the test's own process is not to lose any
    return ReadJob(episodes_path, tmp_path, blocks=4, frame_stride=5, batch_size=8, clips=16, cores=every_core)


@pytest.fixture
def compared(monkeypatch):
    """What the command would have compared, without doing it."""
    calls = []

    def compare_readers(names, reference, job, rounds):
        calls.append((names, reference, job))
        return loader.rows_against(reference, {name: np.array([1.0, 2.0]) for name in names}, job.clips, "clips")

    monkeypatch.setattr(loader, "compare_readers", compare_readers)
    return calls


def test_readers_give_the_same_clips(job):
    ours, plain = (READERS[name].dataset(job) for name in ("cjepa", "h5py"))
    assert len(ours) == len(plain) == 20 * (45 - 20 + 1)
    batch = ours.__getitems__([0, 77, 519])
    for place, index in enumerate([0, 77, 519]):
        clip = plain[index]
        assert torch.equal(batch.pixels_BTYXC[place], clip["pixels"])
        assert torch.equal(batch.proprio_BTP[place], clip["proprio"])
        assert torch.equal(batch.actions_BTA[place], clip["action"])


def test_every_reader_draws_the_same_clips_and_others_in_the_next_round(job):
    draws = {}
    for name in ("cjepa", "h5py"):
        for number in (3, 4):
            assert read_round(name, job, 0, number) > 0
            draws[name, number] = list(loader_of(name, job, 0).sampler)
    assert draws["cjepa", 3] == draws["h5py", 3] != draws["cjepa", 4]
    assert len(draws["cjepa", 3]) == 16
    loader_of.cache_clear()


def test_without_stable_worldmodel_a_word_and_plain_h5py(compared, episodes_path, monkeypatch, capsys):
    monkeypatch.setattr(loader, "is_installed", lambda name: False)
    words = ["bench", "loader", "--against=stable-worldmodel", f"--episodes={episodes_path}", *SMALL]
    assert main(words) == 0
    assert "stable-worldmodel is not installed" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["reference"] for row in rows] == ["h5py", "h5py"]
    assert [names for names, *_ in compared] == [["cjepa", "h5py"]] * 2


def test_with_stable_worldmodel_both_of_its_readers(compared, episodes_path, monkeypatch):
    monkeypatch.setattr(loader, "is_installed", lambda name: True)
    assert main(["bench", "loader", "--against=stable-worldmodel", f"--episodes={episodes_path}", *SMALL]) == 0
    ((names, reference, job),) = compared
    assert names == ["cjepa", "h5py", "stable-worldmodel", "stable-worldmodel Lance"]
    assert reference == "stable-worldmodel"
    assert (job.blocks, job.frame_stride, job.path) == (4, 5, episodes_path)


def test_wrong_calls(capfd, episodes_path):
    for words, named in (
        (["--rounds=0"], "rounds"),
        (["--against=magic"], "magic"),
        ([f"--episodes={episodes_path}.h6"], ".h5.h6: no such file"),
        ([f"--episodes={episodes_path.parent}"], f"{episodes_path.parent}: is a folder, expected one file"),
    ):
        assert main(["bench", "loader", *SMALL, *words]) == 2
        err = capfd.readouterr().err
        assert named in err and "Traceback" not in err


def test_bench_alone_lists_what_there_is(capsys):
    for words in (["bench"], ["bench", "--help"]):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert "bench loader" in out and "collect" not in out
    assert main(["bench", "dance"]) == 2


@pytest.mark.slow
def test_the_command(episodes_path, capfd):
    assert main(["bench", "loader", f"--episodes={episodes_path}", *SMALL, "--json"]) == 0
    ours, plain = json.loads(capfd.readouterr().out)
    assert (ours["name"], plain["name"], plain["ratio"]) == ("cjepa", "h5py", 1.0)
    for row in (ours, plain):
        assert row["n"] == 2 and row["low"] <= row["ratio"] <= row["high"]
        assert row["samples_per_s"] == pytest.approx(16 / row["seconds"])
        assert row["workers"] in (0, 1) and row["cores"] == 1
        assert {"cjepa", "torch", "h5py"} <= row["versions"].keys()


def test_a_clip_longer_than_the_episodes_is_the_users_error(episodes_path, capfd):
    assert main(["bench", "loader", f"--episodes={episodes_path}", "--blocks=10", *SMALL]) == 2
    assert "50 env steps" in capfd.readouterr().err
