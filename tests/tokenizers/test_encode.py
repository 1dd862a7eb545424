"""Tokens of stored data, at once or frame by frame, and what a tokenizer is known by."""

import re
import time

import pytest
import torch

from cjepa.errors import UserError
from cjepa.tokenizers.baselines.initialisers import ConditionedSlots
from cjepa.tokenizers.baselines.patches import PatchTokenizer
from cjepa.tokenizers.baselines.savi import SAVi
from cjepa.tokenizers.encode import clips_of, encode_clips, fingerprint, in_parallel, read_columns, step_clips
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.tokenizers.slots.starts import LearnedStart
from cjepa.tokenizers.slots.tokenizer import SlotTokenizer
from cjepa.tokenizers.training import load_tokenizer
from cjepa.types import Tokens, VideoBatch


@pytest.fixture
def hinted() -> SAVi:
    torch.manual_seed(0)
    return SAVi(ConditionedSlots(3, 16), channels=8, decoder_channels=8).eval()


def test_every_tokenizer_is_shown_what_it_reads(hinted):
    columns = {"pixels": torch.zeros(1, 2, 64, 64, 3, dtype=torch.uint8), "objects": torch.ones(1, 2, 4, 3)}
    columns["masks"] = torch.ones(1, 2, 64, 64, dtype=torch.uint8)
    oracle = OracleTokenizer(4, ("x", "y", "vx"))
    for tokenizer, names in ((slot_tokenizer(), {"pixels"}), (hinted, {"pixels", "masks"}), (oracle, {"objects"})):
        assert read_columns(tokenizer) == names
        clips = clips_of({name: columns[name] for name in names})
        assert encode_clips(tokenizer, clips).shape == (1, 2, tokenizer.num_slots, tokenizer.slot_dim)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.zeros(1, 2, 3), " gives a Tensor, expected Tokens"),
        (Tokens(torch.zeros(1, 2, 3), *[None] * 3), r": slots_BTSD gives shape (1, 2, 3), expected shape (1, 2, 4, 3)"),
    ],
)
def test_a_tokenizer_that_gives_something_else_is_refused(given, said, monkeypatch):
    oracle = OracleTokenizer(4, ("x", "y", "vx"))
    monkeypatch.setattr(oracle, "encode", lambda seen: given)
    with pytest.raises(UserError, match=f"^OracleTokenizer.encode{re.escape(said)}$"):
        encode_clips(oracle, VideoBatch(objects_BTOF=torch.ones(1, 2, 4, 3)))


def test_hints_are_asked_for_where_clips_begin_and_not_later(hinted, episodes):
    rows = episodes.episode(0, ["pixels", "masks"])
    pixels, masks = (torch.from_numpy(rows[name][None, :3]) for name in ("pixels", "masks"))
    with pytest.raises(UserError, match="SAVi needs hints from label images"):
        step_clips(hinted, VideoBatch(pixels))
    whole = encode_clips(hinted, VideoBatch(pixels, masks))
    first, memory = step_clips(hinted, VideoBatch(pixels[:, :1], masks[:, :1]))
    rest, _ = step_clips(hinted, VideoBatch(pixels[:, 1:]), memory)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole, atol=0.02, rtol=0.02)


def test_a_memory_may_be_stepped_from_twice(episodes):
    """As a planner does: with the next frame, and with a goal image."""
    tokenizer = load_tokenizer("zoo:pusht-slots")
    frames = torch.from_numpy(episodes.episode(0, ["pixels"])["pixels"])[None]
    now, next_frame, goal = (VideoBatch(frames[:, t : t + 1]) for t in (0, 1, 40))
    _, memory = step_clips(tokenizer, now)
    expected, _ = step_clips(tokenizer, next_frame, memory)
    there, _ = step_clips(tokenizer, goal, memory)
    found, _ = step_clips(tokenizer, next_frame, memory)
    assert torch.equal(found, expected) and (there - expected).abs().max() > 0.1


def test_the_fingerprint_changes_with_a_weight(slots_run):
    tokenizer, again = (load_tokenizer(str(slots_run)) for _ in range(2))
    before = fingerprint(tokenizer)
    assert before == fingerprint(again) != fingerprint(PatchTokenizer(again, 4))
    for parameter in tokenizer.parameters():
        with torch.no_grad():
            parameter.view(-1)[0] += 1e-3
        after = fingerprint(tokenizer)
        assert after != before
        before = after


def slot_tokenizer(seed: int = 0) -> SlotTokenizer:
    torch.manual_seed(seed)
    return SlotTokenizer(LearnedStart(3, slot_dim=32)).eval()


def test_the_fingerprint_changes_with_the_kind_and_is_the_same_for_a_copy():
    ours, copy, other = slot_tokenizer(), slot_tokenizer(), slot_tokenizer(seed=1)
    assert fingerprint(ours) == fingerprint(copy) != fingerprint(other)
    assert fingerprint(PatchTokenizer(ours, 4)) not in (fingerprint(ours), fingerprint(PatchTokenizer(ours, 8)))


def test_the_fingerprint_changes_with_the_revision_of_the_code():
    tokenizer = slot_tokenizer()
    before = fingerprint(tokenizer), fingerprint(PatchTokenizer(tokenizer, 4))
    tokenizer.info = tokenizer.info._replace(revision=tokenizer.info.revision + 1)
    assert fingerprint(tokenizer) != before[0] and fingerprint(PatchTokenizer(tokenizer, 4)) != before[1]


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_in_threads_come_back_in_order(threads):
    tokenizer, before = slot_tokenizer(), torch.get_num_threads()
    inside, read = set(), []

    def encode(batch: int) -> int:
        inside.add(torch.get_num_threads())
        time.sleep(0.02 / (1 + batch))  # the later the faster
        return batch

    def batches():
        for batch in range(9):
            read.append(batch)
            yield batch

    torch.set_num_threads(threads)
    try:
        found = in_parallel(tokenizer, encode, batches())
        assert next(found) == 0 and len(read) == 2 * threads + 1  # no more in memory than that
        assert list(found) == list(range(1, 9))
        assert inside == {1} and torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_thread_is_raised():
    def encode(batch: int) -> int:
        raise UserError("no")

    before = torch.get_num_threads()
    with pytest.raises(UserError, match="no"):
        list(in_parallel(slot_tokenizer(), encode, range(3)))
    assert torch.get_num_threads() == before
