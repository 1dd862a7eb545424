"""Paths inside files: from the file's own folder, else as written."""

import json
from pathlib import Path

import numpy as np
import pytest

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.origins import (
    episodes_of,
    found_path,
    moved_tokenizer,
    stored_path,
    stored_tokenizer,
    tokenizer_of,
)
from cjepa.data.store.shards import ShardedEpisodes
from cjepa.errors import UserError

LOAD = "cjepa.tokenizers.training.load_tokenizer"


def trained(checkpoint: Path | str) -> dict:
    return {"class_path": LOAD, "init_args": {"checkpoint": str(checkpoint)}}


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_path_is_stored_from_the_folder_of_its_file(tmp_path, monkeypatch):
    touched(tmp_path / "data" / "e.h5")
    monkeypatch.chdir(tmp_path)
    assert stored_path("data/e.h5", Path("tokens/t.h5")) == "../data/e.h5"
    assert stored_path("data/*.h5", tmp_path / "t.h5") == "data/*.h5"


def test_a_link_to_the_folder_changes_nothing(tmp_path):
    episodes = touched(tmp_path / "study" / "deep" / "e.h5")
    (tmp_path / "link").symlink_to(tmp_path / "study" / "deep")
    assert stored_path(episodes, tmp_path / "link" / "tokens.h5") == "e.h5"
    assert found_path("../deep/e.h5", tmp_path / "link" / "tokens.h5") == str(episodes)


def test_the_folder_of_the_file_comes_before_the_current_one(tmp_path, monkeypatch):
    here, near = touched(tmp_path / "e.h5"), touched(tmp_path / "study" / "e.h5")
    monkeypatch.chdir(tmp_path)
    file = Path("study/t.h5")
    assert found_path("e.h5", file) == str(near)
    assert found_path("*.h5", file) == str(tmp_path / "study" / "*.h5")
    near.unlink()
    assert found_path("e.h5", file) == str(here)  # older files: as it was typed
    assert found_path(str(here), file) == str(here)
    here.unlink()
    assert found_path("e.h5", file) == "e.h5"


def test_only_what_is_a_path_is_stored_as_one(tmp_path):
    weights = touched(tmp_path / "slots" / "last.ckpt")
    patches = {"class_path": "a.Patches", "init_args": {"trained": trained(weights), "grid": 4}}
    stored = stored_tokenizer(patches, tmp_path / "t.h5")
    assert stored == {"class_path": "a.Patches", "init_args": {"trained": trained("slots/last.ckpt"), "grid": 4}}
    for spec in (trained("zoo:pusht-slots"), {"class_path": "a.B", "init_args": {"source": "some/model"}}):
        assert stored_tokenizer(spec, tmp_path / "t.h5") == spec


@pytest.mark.parametrize("folders", [("a", "a"), ("a", "b/c")])
def test_a_set_of_token_files_has_one_tokenizer(tmp_path, folders):
    """Files in folders of another depth name it in other words."""
    weights = touched(tmp_path / "slots" / "last.ckpt")
    for number, folder in enumerate(folders):
        file = tmp_path / "set" / folder / f"{number}.h5"
        spec = json.dumps(stored_tokenizer(trained(weights), file))
        with EpisodeWriter(file, "cjepa-tokens", {"tokenizer": spec, "tokenizer_fingerprint": "0"}) as writer:
            writer.append({"tokens": np.full((2, 1, 3), number, np.float16)})
    files = sorted(tmp_path.glob("set/**/*.h5"))
    assert len(files) == 2
    assert tokenizer_of(ShardedEpisodes("both", [EpisodeFile(file) for file in files])) == trained(weights)


def test_the_episodes_of_a_token_file(tmp_path):
    for name, attributes in (("data/e.h5", {}), ("tokens/t.h5", {"episodes_path": "../data/e.h5"})):
        with EpisodeWriter(tmp_path / name, "cjepa-episodes", attributes) as writer:
            writer.append({"action": np.ones((2, 2), np.float32)})
    assert episodes_of(EpisodeFile(tmp_path / "tokens" / "t.h5")).path == tmp_path / "data" / "e.h5"


def test_a_tokenizer_follows_its_model(tmp_path):
    was, now = tmp_path / "was", tmp_path / "now"
    spec = trained(was / "slots" / "last.ckpt")

    def followed(run: Path, recorded: str = str(was / "model")) -> dict:
        return moved_tokenizer(spec, recorded, run, "model.ckpt")

    places = f"{now}/slots/last.ckpt or {was}/slots/last.ckpt"
    with pytest.raises(UserError, match=f"model.ckpt: no such checkpoint of its tokenizer: {places}; move it back"):
        followed(now / "model")
    touched(was / "slots" / "last.ckpt")
    assert followed(now / "model") == spec
    touched(now / "slots" / "last.ckpt")
    assert followed(now / "model") == trained(now / "slots" / "last.ckpt")
    assert followed(was / "model") == spec
    assert followed(now / "model", recorded="") == spec
