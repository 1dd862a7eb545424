"""Damaged episodes are refused, or left out when that is asked for; no other episode changes its place."""

import inspect
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser

from cjepa.cli import main
from cjepa.commands.tokenize import tokenize_command
from cjepa.data.splits import (
    SPLIT_SHARES,
    Lineage,
    held_out,
    lineage_of,
    split_episodes,
    used_episodes,
    warn_of_learned,
)
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.episodes import DamagedEpisode
from cjepa.data.store.shards import open_episodes
from cjepa.data.store.verify import verify_data
from cjepa.data.token_clips import TokenClips
from cjepa.data.video_clips import VideoClips
from cjepa.errors import UserError
from cjepa.files import read_json
from tests.conftest import FEW_FRAMES, NUM_EPISODES, configs, fit, ignore_progress, token_attributes

DAMAGED = [3, 17]
MODULES = [(VideoClips, "episodes", "pixels"), (TokenClips, "tokens", "tokens")]


def damaged_copy(source: Path, out: Path, column: str, *, on_disk: bool = False) -> Path:
    """A copy in which one frame of the episodes 3 and 17 is wrong, or cannot even be decompressed."""
    shutil.copy(source, out)
    with h5py.File(out, "r+") as file:
        rows = [int(file["ep_offset"][episode]) + 5 for episode in DAMAGED]
        places = [file[column].id.get_chunk_info_by_coord((row, 0, 0, 0)) for row in rows] if on_disk else []
        for row in [] if on_disk else rows:
            file[column][row] = file[column][row] + 1
    content = bytearray(out.read_bytes())
    for place in places:
        content[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
    out.write_bytes(content)
    return out


@pytest.fixture
def damaged(tmp_path, episodes_path, tokens_path) -> dict[str, Path]:
    return {
        "episodes": damaged_copy(episodes_path, tmp_path / "episodes.h5", "pixels"),
        "tokens": damaged_copy(tokens_path, tmp_path / "tokens.h5", "tokens"),
    }


def read_all(module) -> list:
    module.setup("fit")
    return [*module.train_dataloader(), *module.val_dataloader(), *module.test_dataloader()]


@pytest.mark.parametrize(("data", "kind", "column"), MODULES)
def test_a_damaged_episode_is_never_read_silently(damaged, data, kind, column):
    with pytest.raises(DamagedEpisode) as raised:
        read_all(data(str(damaged[kind]), batch_size=4))
    line = str(raised.value)
    assert raised.value.episode in DAMAGED
    assert line.startswith(f"{damaged[kind]}: episode {raised.value.episode}, column {column!r}: the checksum")
    assert f"--data.init_args.exclude_episodes [{raised.value.episode}]" in line and "\n" not in line


def test_frames_that_cannot_be_decompressed(tmp_path, episodes_path):
    path = damaged_copy(episodes_path, tmp_path / "bad.h5", "pixels", on_disk=True)
    with pytest.raises(DamagedEpisode, match=r"bad.h5: episode (3|17), column 'pixels': cannot be read"):
        read_all(VideoClips(str(path), batch_size=4))
    with pytest.raises(DamagedEpisode, match="episode 3,"):
        EpisodeFile(path).read("pixels", 0, NUM_EPISODES * 45)
    assert read_all(VideoClips(str(path), batch_size=4, exclude_corrupted=True))


@pytest.mark.parametrize("options", [{"exclude_episodes": DAMAGED}, {"exclude_corrupted": True}])
@pytest.mark.parametrize(("data", "kind", "column"), MODULES)
def test_left_out_on_request(damaged, request, caplog, data, kind, column, options):
    module, whole = data(str(damaged[kind]), batch_size=4, **options), data(request.getfixturevalue(f"{kind}_path"))
    assert read_all(module)
    whole.setup("fit")
    assert module.excluded == DAMAGED
    for name, part in whole.splits.items():
        assert module.splits[name].tolist() == [index for index in part if index not in DAMAGED]
    for episode in DAMAGED:
        assert str(episode) in caplog.text
    assert str(damaged[kind]) in caplog.text


def test_what_is_left_out_is_not_trained_on(numbered_tokens):
    path = numbered_tokens([12] * 20)
    module = TokenClips(str(path), frame_stride=1, train_blocks=2, val_blocks=2, batch_size=1, exclude_episodes=[4])
    seen = {int(value) // 12 for clip in read_all(module) for value in clip.tokens_BTSD.flatten()}
    assert seen == set(range(20)) - {4}


def test_wrong_indices(episodes):
    with pytest.raises(UserError, match="exclude_episodes contains 20, but .* has episodes 0 to 19"):
        used_episodes(episodes, 0, [3, 20], False)
    with pytest.raises(UserError, match="exclude_episodes contains -1"):
        used_episodes(episodes, 0, [-1], False)


@pytest.mark.parametrize("takes", [TokenClips, tokenize_command])
def test_thousands_of_indices_are_read_at_once(takes):
    """A list would be copied as a whole for each of them, which took 26 s."""
    parser, indices = ArgumentParser(exit_on_error=False), tuple(range(4000))
    parser.add_argument("--option", type=inspect.signature(takes).parameters["exclude_episodes"].annotation)
    started = time.perf_counter()
    assert parser.parse_args([f"--option={list(indices)}"]).option == indices
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize("option", ["--exclude_episodes=[3,17]", "--exclude_corrupted"])
def test_tokens_of_what_is_left(damaged, tmp_path, slots_run, slot_tokens, capfd, option):
    out = tmp_path / "left.h5"
    words = ["tokenize", str(slots_run), str(damaged["episodes"]), "--out", str(out)]
    assert main(words) == 2
    error = capfd.readouterr().err
    assert "episode 3, column 'pixels'" in error and "exclude_episodes [3]" in error
    assert main([*words, option]) == 0
    whole, left = EpisodeFile(slot_tokens), EpisodeFile(out)
    assert left.lengths.tolist() == [0 if index in DAMAGED else 45 for index in range(NUM_EPISODES)]
    assert left.attributes["excluded_episodes"] == "[3, 17]"
    assert verify_data(out, ignore_progress) is None
    for index in set(range(NUM_EPISODES)) - set(DAMAGED):
        expected = whole.episode(index)
        for name, values in left.episode(index).items():
            np.testing.assert_allclose(values.astype(float), expected[name].astype(float), atol=0.02)
    module = TokenClips(str(out))
    module.setup("fit")
    assert torch.isfinite(module.normalisation_sample().tokens_BTSD).all()
    assert module.splits["test"].tolist() == used_episodes(whole, 0, [], False).splits["test"].tolist()


@pytest.mark.slow
def test_the_option_on_the_command_line(damaged, tmp_path, caplog):
    more = ["--data.init_args.exclude_episodes", "[3, 17]"]
    run = fit(tmp_path / "run", damaged["episodes"], *configs("pusht/tokenizer.yaml"), *FEW_FRAMES, *more)
    assert "left out as asked: episodes [3, 17]" in caplog.text
    assert read_json(run / "run.json")["data"]["excluded_episodes"] == DAMAGED


def write_states(
    path: Path, seeds: range, size: int = 4, format: str = "cjepa-episodes", empty: int = -1, **more
) -> Path:
    """Six rows for each seed, whose state says which seed it was; ``empty`` is an index without rows."""
    attributes = token_attributes(**more) if format == "cjepa-tokens" else {}
    looks = {"cjepa-episodes": ("pixels", (size, size, 3), np.uint8), "cjepa-tokens": ("tokens", (3, 6), np.float16)}
    name, shape, dtype = looks[format]
    with EpisodeWriter(path, format, attributes) as writer:
        for index, seed in enumerate(seeds):
            rows = 0 if index == empty else 6
            state = np.full((rows, 2), seed, np.float32)
            writer.append({"state": state, "action": -state, name: np.full((rows, *shape), seed, dtype)})
    return path


@pytest.fixture
def lineage(tmp_path) -> Lineage:
    """Of a model that learned from 20 episodes with split seed 5, without episodes 3 and 17."""
    return lineage_of(EpisodeFile(write_states(tmp_path / "trained.h5", range(20))), 5, DAMAGED)


def test_the_episodes_that_the_model_was_trained_on_are_split_as_it_was(tmp_path, lineage):
    file = EpisodeFile(tmp_path / "trained.h5")
    for split in ("val", "test"):
        expected = set(split_episodes(20, SPLIT_SHARES, 5)[split]) - set(DAMAGED)
        assert set(held_out(file, lineage, split).tolist()) == expected
    with_other_seed = lineage._replace(split_seed=0)
    assert held_out(file, lineage, "test").tolist() != held_out(file, with_other_seed, "test").tolist()


def test_excluded_episodes_are_not_held_out(tmp_path, lineage):
    file, (test_episode,) = EpisodeFile(tmp_path / "trained.h5"), split_episodes(20, SPLIT_SHARES, 5)["test"]
    assert held_out(file, lineage, "test").tolist() == [test_episode]
    assert held_out(file, lineage._replace(excluded=[int(test_episode)]), "test").tolist() == []


def test_tokens_of_episodes_have_their_lineage(tmp_path, lineage):
    episodes = EpisodeFile(tmp_path / "trained.h5")
    more = {"episodes_fingerprint": episodes.fingerprint, "excluded_episodes": [4]}
    tokens = EpisodeFile(write_states(tmp_path / "tokens.h5", range(20), format="cjepa-tokens", empty=4, **more))
    assert tokens.fingerprint != episodes.fingerprint
    of_tokens = lineage_of(tokens, 5, DAMAGED)
    assert of_tokens.episodes_fingerprint == episodes.fingerprint and of_tokens.excluded == [3, 4, 17]
    assert of_tokens.identities == [0 if index == 4 else number for index, number in enumerate(lineage.identities)]
    for file in (episodes, tokens):
        assert held_out(file, of_tokens, "test").tolist() == held_out(episodes, lineage, "test").tolist()


@pytest.mark.parametrize(("seeds", "size"), [(range(30), 4), (range(20), 8), (range(19, 40), 4)])
def test_another_version_of_the_same_data_is_refused(tmp_path, lineage, seeds, size):
    """More episodes of the same seed, the same episodes in another image size, one that is in both files."""
    path = write_states(tmp_path / "again.h5", seeds, size)
    shared = sorted(set(seeds) & set(range(20)))
    with pytest.raises(UserError) as raised:
        held_out(EpisodeFile(path), lineage, "test")
    line = str(raised.value)
    assert line.startswith(f"{path}: another version of the episodes that the model was trained on: {len(shared)} of ")
    assert f"the first is episode {list(seeds).index(shared[0])})" in line and "\n" not in line
    assert f"expected {lineage.episodes_fingerprint}; give the file" in line


def test_other_episodes_are_all_held_out_and_this_is_logged(tmp_path, lineage, caplog):
    path = write_states(tmp_path / "others.h5", range(100, 110))
    assert held_out(EpisodeFile(path), lineage, "test").tolist() == list(range(10))
    held_out(EpisodeFile(path), lineage, "val")
    assert caplog.text.count(f"{path}: none of its 10 episodes was trained on; all count as held out") == 1


@pytest.mark.parametrize(
    ("seeds", "split_seed", "said"),
    [
        (range(20), 5, ""),
        (range(20), 0, "split_seed to 5"),
        (range(5, 40), 5, "collect with another seed"),  # of which 15 are the same
        (range(100, 120), 0, ""),
    ],
)
def test_what_a_tokenizer_has_learned_is_not_new_to_it(tmp_path, lineage, caplog, seeds, split_seed, said):
    file = EpisodeFile(write_states(tmp_path / "again.h5", seeds))
    splits = split_episodes(len(seeds), (0.0, 0.5, 0.5) if said.startswith("collect") else SPLIT_SHARES, split_seed)
    learned = set(split_episodes(20, SPLIT_SHARES, 5)["train"]) - set(DAMAGED)
    shared = [index for split in ("val", "test") for index in splits[split] if seeds[index] in learned]
    warn_of_learned(file, splits, lineage, "the tokenizer slots.ckpt")
    count = sum(len(splits[split]) for split in ("val", "test"))
    expected = f"{len(shared)} of the {count} episodes that are held out here, such as episode {min(shared, default=0)}"
    assert bool(shared) is bool(said) and (expected in caplog.text) is bool(said) and said in caplog.text


def test_shards_are_compared_episode_by_episode(tmp_path, lineage):
    folder = tmp_path / "shards"
    write_states(folder / "a.h5", range(40, 45)), write_states(folder / "b.h5", range(10, 12))
    with pytest.raises(UserError, match="2 of 7 episodes are the same .the first is episode 5."):
        held_out(open_episodes(folder), lineage, "val")


def test_a_lineage_is_made_of_plain_values(tmp_path, lineage):
    torch.save(lineage._asdict(), tmp_path / "lineage.pt")
    assert Lineage(**torch.load(tmp_path / "lineage.pt", weights_only=True)) == lineage


def test_both_modules_name_the_lineage_of_the_same_episodes(tmp_path, episodes_path, tokens_path):
    made = []
    for data, path in ((VideoClips, episodes_path), (TokenClips, tokens_path)):
        module = data(str(path), split_seed=5, exclude_episodes=[4])
        module.setup("fit")
        made.append(module.lineage)
        assert held_out(EpisodeFile(episodes_path), module.lineage, "test").tolist() == module.splits["test"].tolist()
    assert made[0] == made[1] and made[0].excluded == [4] and made[0].split_seed == 5


@pytest.mark.parametrize("count", [0, 1, 12, 20, 101])
def test_splits_are_disjoint_and_complete(count):
    splits = split_episodes(count, (0.8, 0.1, 0.1), seed=0)
    assert list(splits) == ["train", "val", "test"]
    np.testing.assert_array_equal(np.sort(np.concatenate(list(splits.values()))), np.arange(count))


def test_splits_have_their_shares_and_their_seed():
    splits = split_episodes(100, (0.8, 0.15, 0.05), seed=0)
    assert [len(part) for part in splits.values()] == [80, 15, 5]
    again, other = (split_episodes(100, (0.8, 0.15, 0.05), seed) for seed in (0, 1))
    np.testing.assert_array_equal(splits["test"], again["test"])
    assert splits["test"].tolist() != other["test"].tolist()
    with pytest.raises(UserError, match="sum"):
        split_episodes(10, (0.8, 0.1, 0.2), seed=0)
