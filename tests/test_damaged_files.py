"""Files that are damaged are one line with their name, and nothing is written."""

import h5py
import pytest

from cjepa.cli import main
from tests.conftest import configs

TOKENIZER = configs("pusht/tokenizer.yaml")
WORLD_MODEL = configs("pusht/cjepa.yaml", "smoke/world_model.yaml")
PLAN = configs("pusht/plan.yaml", "smoke/plan.yaml")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02cos\nsystem\n."])
def test_damaged_checkpoints(content, refused, tmp_path, episodes_path):
    (tmp_path / "bad.ckpt").write_bytes(content)
    for words in (
        ["plan", "bad.ckpt", *PLAN, "--episodes", episodes_path],
        ["tokenize", "bad.ckpt", episodes_path, "--out", "tokens.h5"],
        ["fit", *TOKENIZER, "--ckpt_path", "bad.ckpt"],
    ):
        line = refused(*words)
        assert "bad.ckpt: not a checkpoint" in line and "weights_only" not in line


@pytest.mark.parametrize("damage", ["text", "cut"])
def test_damaged_episodes(damage, refused, tmp_path, slots_run, world_model_run, episodes_path):
    content = {"text": b"hello", "cut": episodes_path.read_bytes()[:-5000]}[damage]
    (tmp_path / "bad.h5").write_bytes(content)
    for words in (
        ["fit", *TOKENIZER, "--data.init_args.path", "bad.h5"],
        ["fit", *WORLD_MODEL, "--data.init_args.path", "bad.h5"],
        ["tokenize", slots_run, "bad.h5", "--out", "tokens.h5"],
        ["plan", world_model_run, *PLAN, "--episodes", "bad.h5", "--out", "plan"],
    ):
        assert "bad.h5" in refused(*words)
    assert not (tmp_path / "tokens.h5").exists()


def test_bytes_that_flipped(capfd, monkeypatch, tmp_path, slots_run, episodes_path):
    monkeypatch.chdir(tmp_path)
    content = bytearray(episodes_path.read_bytes())
    with h5py.File(episodes_path) as file:
        at = file["pixels"].id.get_chunk_info(100).byte_offset
    content[at : at + 64] = b"\xff" * 64
    (tmp_path / "bad.h5").write_bytes(content)
    assert main(["tokenize", str(slots_run), "bad.h5", "--out", "tokens.h5"]) == 2
    err = capfd.readouterr().err
    assert "tokenize: error: " in err and "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.h5"]
