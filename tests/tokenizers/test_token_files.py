"""Token files of a trained tokenizer, and the tokenizer back from what they name."""

import shutil

import numpy as np
import pytest
import torch

from cjepa.artifacts.preview import preview_path
from cjepa.checkpoints import ZOO
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.origins import tokenizer_of
from cjepa.errors import UserError
from cjepa.tokenizers import token_files
from cjepa.tokenizers.baselines.initialisers import ConditionedSlots
from cjepa.tokenizers.baselines.savi import SAVi
from cjepa.tokenizers.encode import encode_clips, fingerprint
from cjepa.tokenizers.features import DinoV2Features
from cjepa.tokenizers.slots.starts import LearnedStart, SeededStart
from cjepa.tokenizers.slots.tokenizer import SlotTokenizer
from cjepa.tokenizers.specs import TokenizerSpec, build_tokenizer, tokenizer_spec
from cjepa.tokenizers.token_files import tokenize
from cjepa.types import VideoBatch, to_float_pixels
from tests.conftest import RecordedProgress, ignore_progress

ANY = TokenizerSpec("any.Tokenizer", {})
"""Where the test puts a tokenizer of its own in the place of what would be built."""


@pytest.fixture(params=["slot_tokens", "patch_tokens"])
def tokens(request) -> EpisodeFile:
    return EpisodeFile(request.getfixturevalue(request.param))


def test_a_token_file_names_its_tokenizer(tokens):
    tokenizer = build_tokenizer(TokenizerSpec.from_plain(tokenizer_of(tokens)))
    assert fingerprint(tokenizer) == tokens.attributes["tokenizer_fingerprint"]
    assert tokens.columns["tokens"][0][1:] == (tokenizer.num_slots, tokenizer.slot_dim)


def test_the_tokens_are_those_of_the_episode_as_one_clip(tokens, episodes):
    tokenizer = build_tokenizer(TokenizerSpec.from_plain(tokenizer_of(tokens)))
    clip = VideoBatch(torch.from_numpy(episodes.episode(7)["pixels"])[None])
    found = torch.from_numpy(tokens.episode(7)["tokens"]).float()
    expected = encode_clips(tokenizer, clip)
    assert expected.dtype == torch.float32 and torch.equal(expected, encode_clips(tokenizer, clip))
    torch.testing.assert_close(found, expected[0], atol=0.05, rtol=0.05)  # bfloat16 in batches of other sizes
    assert found.std(dim=0).max() > 1e-3  # frames differ


def test_everything_else_is_carried_over(tokens, episodes):
    assert tokens.attributes["episodes_fingerprint"] == episodes.fingerprint
    assert tokens.lengths.tolist() == episodes.lengths.tolist()
    for name in ("action", "proprio", "state"):
        np.testing.assert_array_equal(tokens.episode(3)[name], episodes.episode(3)[name])
    assert "pixels" not in tokens.columns
    for name in ("env_id", "env_kwargs"):  # with the states, the simulator can be run again
        assert tokens.attributes[name] == episodes.attributes[name]


@pytest.mark.parametrize("resume", [True, False])
def test_an_interrupted_run_goes_on_where_it_was(tmp_path, slots_run, slot_tokens, episodes, resume):
    spec, whole = tokenizer_spec(str(slots_run), episodes), EpisodeFile(slot_tokens)
    progress, out = RecordedProgress(), tmp_path / "tokens.h5"
    with pytest.raises(KeyboardInterrupt):
        tokenize(spec, episodes, out, RecordedProgress(interrupt_at=1))
    assert not out.exists()
    again = tokenize(spec, episodes, out, progress, resume)
    # eleven episodes of 45 frames are encoded at once: what fits in a batch of 512
    frames = sum(amount for amount, new in zip(progress.amounts, progress.new, strict=True) if new)
    assert frames == episodes.env_steps - (495 if resume else 0)
    assert again.fingerprint == whole.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.h5"]
    assert (
        tokenize(spec, episodes, out, RecordedProgress(interrupt_at=1)).fingerprint == whole.fingerprint
    )  # nothing is left to do


@pytest.mark.parametrize("start", [LearnedStart, SeededStart])
def test_episodes_of_unequal_length_are_tokenized_as_if_alone(tmp_path, monkeypatch, episodes, start):
    lengths = [9, 4, 1, 7]
    with EpisodeWriter(tmp_path / "episodes.h5", "cjepa-episodes", {}) as writer:
        for index, length in enumerate(lengths):
            writer.append({name: rows[:length] for name, rows in episodes.episode(index, ["pixels", "state"]).items()})
    torch.manual_seed(0)
    tokenizer = SlotTokenizer(start(3, slot_dim=32)).eval()
    tokenizer.prepare(to_float_pixels(torch.from_numpy(episodes.read("pixels", 0, 200))))
    monkeypatch.setattr(token_files, "build_tokenizer", lambda spec: tokenizer)
    some = EpisodeFile(tmp_path / "episodes.h5")
    progress = RecordedProgress()
    tokens = tokenize(ANY, some, tmp_path / "tokens.h5", progress)
    assert (progress.amounts, progress.new) == ([21], [True])  # all in one batch
    assert tokens.lengths.tolist() == lengths
    assert tokens.columns["tokens"] == ((21, 3, tokenizer.slot_dim), np.float16)
    for index in range(4):
        np.testing.assert_array_equal(tokens.episode(index)["state"], some.episode(index)["state"])
        expected = encode_clips(tokenizer, VideoBatch(torch.from_numpy(some.episode(index)["pixels"])[None]))[0]
        found = torch.from_numpy(tokens.episode(index)["tokens"]).float()
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)
    monkeypatch.setattr(token_files, "frames_at_once", lambda *_: 4)  # the first batch: an episode without rows
    partly = tokenize(ANY, some, tmp_path / "partly.h5", ignore_progress, excluded=[0])
    assert partly.lengths.tolist() == [0, 4, 1, 7]
    found, expected = (file.episode(3)["tokens"] for file in (partly, tokens))
    np.testing.assert_allclose(found, expected, atol=0.05, rtol=0.05)


def test_another_jobs_file_is_kept(tmp_path, slots_run, episodes):
    spec = tokenizer_spec(str(slots_run), episodes)
    (tmp_path / "tokens.h5").write_text("mine")
    with pytest.raises(UserError, match="tokens.h5 already exists"):
        tokenize(spec, episodes, tmp_path / "tokens.h5", ignore_progress)
    assert (tmp_path / "tokens.h5").read_text() == "mine"


@pytest.fixture
def hinted(monkeypatch) -> SAVi:
    torch.manual_seed(0)
    tokenizer = SAVi(ConditionedSlots(3, 16), channels=8, decoder_channels=8).eval()
    monkeypatch.setattr(token_files, "build_tokenizer", lambda spec: tokenizer)
    return tokenizer


@pytest.mark.parametrize("excluded", [[], [0]])
def test_hints_are_where_the_objects_of_an_episodes_first_frame_are(tmp_path, hinted, episodes, excluded):
    with EpisodeWriter(tmp_path / "episodes.h5", "cjepa-episodes", {}) as writer:
        for index, length in enumerate([4, 2, 3]):
            rows = episodes.episode(index, ["pixels", "masks"])
            writer.append({name: values[:length] for name, values in rows.items()})
    file = EpisodeFile(tmp_path / "episodes.h5")
    tokens = tokenize(ANY, file, tmp_path / "tokens.h5", ignore_progress, excluded=excluded)
    assert set(tokens.columns) == {"tokens"}
    for index in {0, 1, 2} - set(excluded):
        pixels, masks = (torch.from_numpy(file.episode(index)[name])[None] for name in ("pixels", "masks"))
        expected = encode_clips(hinted, VideoBatch(pixels, masks))[0]
        found = torch.from_numpy(tokens.episode(index)["tokens"]).float()
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)
        unhinted = encode_clips(hinted, VideoBatch(pixels, torch.zeros_like(masks)))[0]
        assert (found - unhinted).abs().max() > 0.2


def test_an_episode_longer_than_a_batch_is_encoded_in_parts(tmp_path, monkeypatch, hinted, episodes):
    """Memory would grow with its length; hints are of its first frame, whichever part the frames are in."""
    with EpisodeWriter(tmp_path / "episodes.h5", "cjepa-episodes", {}) as writer:
        writer.append(episodes.episode(0, ["pixels", "masks"]))
    file, seen, step = EpisodeFile(tmp_path / "episodes.h5"), [], SAVi.step
    expected = tokenize(ANY, file, tmp_path / "whole.h5", ignore_progress).episode(0)["tokens"]
    monkeypatch.setattr(
        SAVi, "step", lambda self, frames, *more: seen.append(frames.shape[1]) or step(self, frames, *more)
    )
    monkeypatch.setattr(token_files, "frames_at_once", lambda *_: 20)
    found = tokenize(ANY, file, tmp_path / "parts.h5", ignore_progress).episode(0)["tokens"]
    assert seen == [20, 20, 5]
    np.testing.assert_allclose(found, expected, atol=0.05, rtol=0.05)


def test_hints_need_label_images(tmp_path, hinted, episodes):
    with EpisodeWriter(tmp_path / "episodes.h5", "cjepa-episodes", {}) as writer:
        writer.append(episodes.episode(0, ["pixels"]))
    with pytest.raises(UserError, match="episodes.h5: no label images.*SAVi.*collect episodes with masks"):
        tokenize(ANY, EpisodeFile(tmp_path / "episodes.h5"), tmp_path / "t.h5", ignore_progress)
    assert not (tmp_path / "t.h5").exists()


def test_a_missing_column_is_named(tmp_path, monkeypatch, episodes):
    monkeypatch.setattr(token_files, "build_tokenizer", lambda spec: SlotTokenizer(LearnedStart(2, 32)))
    with EpisodeWriter(tmp_path / "episodes.h5", "cjepa-episodes", {}) as writer:
        writer.append(episodes.episode(0, ["action", "state"]))
    with pytest.raises(UserError, match=r"episodes.h5: no column 'pixels'; it has \['action', 'state'\]"):
        tokenize(ANY, EpisodeFile(tmp_path / "episodes.h5"), tmp_path / "t.h5", ignore_progress)


def test_the_tokenizer_is_put_on_the_device(tmp_path, slots_run, episodes):
    spec = tokenizer_spec(str(slots_run), episodes)
    with pytest.raises(NotImplementedError, match="meta"):  # every machine has it, and it computes nothing
        tokenize(spec, episodes, tmp_path / "tokens.h5", ignore_progress, device="meta")


@pytest.mark.slow
@torch.no_grad()
def test_patches_of_a_dinov2_need_no_trained_tokenizer(tmp_path, tiny_dinov2, episodes):
    spec = tokenizer_spec(f"dino:{tiny_dinov2}", episodes, patch_grid=14)
    but_the_first = range(1, len(episodes))
    file = tokenize(spec, episodes, tmp_path / "tokens.h5", ignore_progress, excluded=but_the_first)
    assert file.columns["tokens"][0][1:] == (196, 32)
    again = build_tokenizer(TokenizerSpec.from_plain(tokenizer_of(file)))
    assert fingerprint(again) == file.attributes["tokenizer_fingerprint"]
    frames = to_float_pixels(torch.from_numpy(episodes.read("pixels", 0, 2)))
    expected = DinoV2Features(str(tiny_dinov2)).features(frames).flatten(2).transpose(1, 2)
    found = torch.from_numpy(file.episode(0)["tokens"][:2]).float()
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)
    assert found.std(dim=1).min() > 1e-2


@pytest.mark.slow
def test_the_same_work_in_another_folder_gives_the_same_file(tmp_path, episodes):
    rows = [episodes.episode(index, ["pixels", "action"]) for index in range(2)]
    for place in (tmp_path / "a", tmp_path / "b" / "deeper"):
        shutil.copytree(ZOO / "pusht-slots", place / "runs" / "slots")
        with EpisodeWriter(place / "pusht.h5", "cjepa-episodes", {}) as writer:
            for row in rows:
                writer.append({name: values[:4] for name, values in row.items()})
        source = EpisodeFile(place / "pusht.h5")
        spec = tokenizer_spec(str(place / "runs" / "slots"), source)
        tokenize(spec, source, place / "tokens" / "t.h5", ignore_progress)
    made = [(tmp_path / place / "tokens" / "t.h5").read_bytes() for place in ("a", "b/deeper")]
    assert made[0] == made[1]
    (tmp_path / "a").rename(tmp_path / "moved")
    shutil.rmtree(tmp_path / "b")
    moved = tmp_path / "moved" / "tokens" / "t.h5"
    assert tokenizer_of(EpisodeFile(moved))["init_args"] == {
        "checkpoint": str(tmp_path / "moved" / "runs" / "slots" / "model.safetensors")
    }
    drawn = preview_path(moved, tmp_path / "out", 2, 0, ignore_progress)
    assert [file.name for file in drawn] == ["sheet.png", "episodes.mp4"]  # frames, and what the tokenizer decodes


def test_what_cannot_be_made_leaves_nothing(tmp_path, slots_run, episodes):
    spec = tokenizer_spec(str(slots_run), episodes, patch_grid=5)
    with pytest.raises(UserError, match="grid of 5"):
        tokenize(spec, episodes, tmp_path / "tokens.h5", ignore_progress)
    assert list(tmp_path.iterdir()) == []


def test_tokens_that_are_not_finite_are_refused(tmp_path, episodes):
    with EpisodeWriter(tmp_path / "episodes.h5", "cjepa-episodes", {"attribute_names": '["x", "y"]'}) as writer:
        for index in range(3):
            objects = np.ones((4, 2, 2), np.float32)
            objects[2, 1, 0] = np.nan if index == 1 else 1
            writer.append({"objects": objects})
    file = EpisodeFile(tmp_path / "episodes.h5")
    spec, out = tokenizer_spec("oracle", file), tmp_path / "tokens.h5"
    with pytest.raises(UserError, match="episodes.h5: episode 1, frame 2: its tokens are not finite"):
        tokenize(spec, file, out, ignore_progress)
    assert not out.exists()
    assert tokenize(spec, file, out, ignore_progress, excluded=[1]).lengths.tolist() == [4, 0, 4]
