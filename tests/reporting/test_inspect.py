import json

import pytest

from cjepa.cli import main
from cjepa.data.store import EpisodeFile
from cjepa.errors import UserError
from cjepa.reporting.inspect import inspect_path


def test_an_episode_file(episodes_path):
    facts, table = inspect_path(episodes_path)
    file = EpisodeFile(episodes_path)
    assert facts["format"] == "cjepa-episodes" and facts["fingerprint"] == file.fingerprint
    assert facts["episodes"] == len(file) and facts["env_steps"] == file.env_steps
    rows = {row[0]: row[1:] for row in table[1:]}
    assert set(rows) == set(file.columns)
    assert rows["pixels"][:2] == ["uint8", f"{file.env_steps} x 64 x 64 x 3"]
    low, mean, high = (float(text) for text in rows["action"][2:])
    assert -1 <= low < mean < high <= 1


def test_a_run_and_its_checkpoint(world_model_run):
    facts, table = inspect_path(world_model_run)
    assert facts["model"]["class"] == "WorldModel" and "last.ckpt" in facts["checkpoints"] and not table
    facts, _ = inspect_path(world_model_run / "checkpoints" / "last.ckpt")
    assert facts["class"].endswith("WorldModel") and facts["optimizer_steps"] == 2 and facts["tokens_fingerprint"]


def test_json_is_for_programs(episodes_path, capsys):
    assert main(["inspect", str(episodes_path), "--json", "true"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {"column", "dtype", "shape", "min", "mean", "max"} == set(answer["columns"][0])


def test_nothing_to_inspect(tmp_path):
    with pytest.raises(UserError, match="expected a run folder"):
        inspect_path(tmp_path)
