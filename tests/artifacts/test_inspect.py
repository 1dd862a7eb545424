"""What a path is, for people and for programs."""

import json
import shutil
import subprocess
import sys
import tracemalloc

import h5py
import numpy as np
import pytest

from cjepa.artifacts.inspect import column_table, inspect_path, kind_of
from cjepa.cli import main
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.errors import UserError
from cjepa.files import write_json


@pytest.fixture
def shards(tmp_path, episodes):
    """Two files of ten episodes each."""
    for number in (1, 2):
        with EpisodeWriter(tmp_path / "set" / f"{number}.h5", "cjepa-episodes", {"seed": number}) as writer:
            for index in range(10):
                writer.append(episodes.episode(index + 10 * (number - 1)))
    return tmp_path / "set"


def test_an_episode_file(episodes_path):
    facts, columns = inspect_path(episodes_path)
    file = EpisodeFile(episodes_path)
    assert facts["format"] == "cjepa-episodes" and facts["fingerprint"] == file.fingerprint
    assert facts["episodes"] == len(file) and facts["env_steps"] == file.env_steps
    assert facts["shortest_episode_env_steps"] == facts["longest_episode_env_steps"] == 45
    assert facts["ranges_are_of_the_first_rows"] == file.env_steps
    found = {column["column"]: column for column in columns}
    assert set(found) == set(file.columns)
    for name, column in found.items():
        values = file.read(name, 0, file.env_steps).astype(np.float64)
        assert column["dtype"] == str(file.columns[name][1]) and column["shape"] == list(values.shape)
        assert (column["min"], column["max"]) == (values.min(), values.max())
        assert column["mean"] == pytest.approx(values.mean(), rel=1e-6)
    assert isinstance(found["pixels"]["max"], int) and isinstance(found["action"]["max"], float)


def test_the_table_for_people(episodes_path, episodes):
    header, *rows = column_table(inspect_path(episodes_path)[1])
    assert header == ["column", "dtype", "shape", "min", "mean", "max"]
    pixels = next(row for row in rows if row[0] == "pixels")
    mean = episodes.read("pixels", 0, episodes.env_steps).mean()
    assert pixels[1:] == ["uint8", "900 x 64 x 64 x 3", "65", f"{mean:.4g}", "255"]
    assert column_table([]) == []


def test_large_frames_take_little_memory(tmp_path):
    """Ranges are of as many first rows as fit, and sums of small types do not overflow."""
    with EpisodeWriter(tmp_path / "large.h5", "cjepa-episodes", {}) as writer:
        for value in range(20):
            rows = np.full((10, 512, 512, 3), 200 + value, np.uint8)
            writer.append({"pixels": rows, "heights": np.full((10, 300), 1000 * value, np.float16)})
    tracemalloc.start()
    facts, columns = inspect_path(tmp_path / "large.h5")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    rows = facts["ranges_are_of_the_first_rows"]
    assert rows == int(64e6 / (512 * 512 * 3))
    assert peak < 100e6
    heights, pixels = columns
    assert (pixels["min"], pixels["max"]) == (200, 208) and (heights["min"], heights["max"]) == (0, 8000)
    of_row = np.arange(rows) // 10
    assert pixels["mean"] == pytest.approx(200 + of_row.mean())
    assert heights["mean"] == pytest.approx(1000 * of_row.mean())


def test_tokens_name_their_tokenizer_and_their_episodes(slot_tokens, episodes):
    facts, columns = inspect_path(slot_tokens)
    assert facts["format"] == "cjepa-tokens" and facts["episodes_fingerprint"] == episodes.fingerprint
    assert facts["tokenizer"]["init_args"]["checkpoint"].endswith("last.ckpt")
    assert "tokens" in [column["column"] for column in columns]


def test_a_data_set_of_several_files(shards, episodes):
    facts, columns = inspect_path(shards)
    assert facts["files"] == {str(shards / "1.h5"): 10, str(shards / "2.h5"): 10}
    assert (facts["episodes"], facts["env_steps"]) == (20, episodes.env_steps)
    assert "seed" not in facts  # they differ in it
    assert facts["megabytes"] == pytest.approx(sum(path.stat().st_size for path in shards.iterdir()) / 1e6, abs=0.06)
    assert columns == inspect_path(episodes.path)[1] == inspect_path(shards / "*.h5")[1]


def test_a_damaged_column_is_shown_as_such(tmp_path, episodes_path):
    path = shutil.copy(episodes_path, tmp_path / "bad.h5")
    with h5py.File(path, "r+") as file:
        file["state"][3] = 1e6
    columns = inspect_path(path)[1]
    state = next(column for column in columns if column["column"] == "state")
    assert state["damaged"] and state["min"] is state["mean"] is state["max"] is None
    rows = {row[0]: row[3:] for row in column_table(columns)}
    assert rows["state"] == ["damaged"] * 3 and "damaged" not in rows["action"]


def test_a_file_without_rows_or_episodes(tmp_path):
    with EpisodeWriter(tmp_path / "none.h5", "cjepa-episodes", {}) as writer:
        writer.append({"state": np.zeros((0, 2), np.float32)})
    facts, columns = inspect_path(tmp_path / "none.h5")
    assert facts["env_steps"] == 0 and column_table(columns)[1][3:] == ["-"] * 3
    with EpisodeWriter(tmp_path / "empty.h5", "cjepa-episodes", {}):
        pass
    facts, columns = inspect_path(tmp_path / "empty.h5")
    assert (facts["episodes"], facts["longest_episode_env_steps"], columns) == (0, None, [])


def test_a_run_and_its_checkpoint(world_model_run):
    facts, columns = inspect_path(world_model_run)
    assert facts["model"]["class"] == "WorldModel" and "last.ckpt" in facts["checkpoints"] and not columns
    facts, _ = inspect_path(world_model_run / "checkpoints" / "last.ckpt")
    assert facts["class"].endswith("WorldModel") and facts["optimizer_steps"] == 2 and facts["tokenizer_fingerprint"]


def test_a_model_that_comes_along(capsys):
    assert main(["inspect", "zoo:pusht-slots"]) == 0
    assert "class: cjepa.tokenizers.training.TokenizerTraining\n" in capsys.readouterr().out
    assert main(["verify", "zoo:pusht-slots"]) == 0
    assert main(["inspect", "zoo:nothing"]) == 2
    assert "no such model; expected one of" in capsys.readouterr().err


def test_a_study(tmp_path):
    write_json(tmp_path / "study.json", {"name": "mine", "stages": []})
    assert inspect_path(tmp_path)[0]["name"] == "mine"


@pytest.mark.parametrize("words", [["--json", "PATH"], ["PATH", "--json"], ["PATH", "--json", "true"]])
@pytest.mark.parametrize("what", ["episodes_path", "slot_tokens", "world_model_run", "shards"])
def test_json_is_for_programs(request, capsys, what, words):
    path = request.getfixturevalue(what)
    capsys.readouterr()
    assert main(["inspect", *(str(path) if word == "PATH" else word for word in words)]) == 0
    answer = json.loads(capsys.readouterr().out)  # all of it, nothing before or behind
    if kind_of(path) == "data":
        assert {"column", "dtype", "shape", "min", "mean", "max", "damaged"} == set(answer["columns"][0])
        assert answer["columns"] == inspect_path(path)[1]


def test_without_json_it_is_for_people(episodes_path, capsys):
    assert main(["inspect", str(episodes_path), "--no_json"]) == 0
    assert "\nenv_id: cjepa/PushT-v0\n" in capsys.readouterr().out


def test_a_person_is_not_flooded(tmp_path, capsys):
    stages = [{"name": "a", "seconds": 1.5}, {"name": "b", "seconds": 2.5}]
    code = {f"cjepa.module_{number}": "1a2b" for number in range(300)}
    write_json(tmp_path / "study.json", {"name": "mine", "stages": stages, "missing": [], "code": code})
    assert main(["inspect", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        *("name: mine", "stages:", f"  {stages[0]}", f"  {stages[1]}", "missing: []"),
        "code: 300 entries; --json shows them",
    ]
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["code"] == code


def test_nothing_to_inspect(tmp_path):
    with pytest.raises(UserError, match="expected a run folder"):
        inspect_path(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        inspect_path(tmp_path / "none.h5")


def test_data_are_inspected_without_torch(episodes_path):
    """It takes seconds to import; only checkpoints need it."""
    code = "import sys; from cjepa.cli import main; assert main(sys.argv[1:]) == 0; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, "inspect", str(episodes_path)], capture_output=True, text=True)
    assert done.returncode == 0 and "pixels" in done.stdout, done.stderr


@pytest.mark.parametrize(("record", "said"), [("run.json", "; it belongs to the run "), (None, ".ckpt file\n")])
def test_a_file_beside_data_and_checkpoints_is_told_what_can_be_inspected(record, said, tmp_path, refused):
    (tmp_path / "media").mkdir()
    for name in ("media/results.json", *([record] if record else [])):
        (tmp_path / name).write_text("{}")
    line = refused("inspect", tmp_path / "media" / "results.json")
    assert "results.json: neither data nor a checkpoint; expected a run folder, " in line and said in line
