"""The contract of tokenizers: every subclass is held to it, with every start that it can have."""

import copy
import inspect

import numpy as np
import pytest
import torch

from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from cjepa.tokenizers.base import Tokenizer, TrainableTokenizer, float_frames
from cjepa.tokenizers.baselines.initialisers import ConditionedSlots, GaussianSlots, Initialiser, LearnedSlots
from cjepa.tokenizers.features import ConvFeatures
from cjepa.tokenizers.grid import cell_centres, centroids
from cjepa.tokenizers.slots.starts import LearnedStart, SeededStart, Start
from cjepa.tokenizers.slots.tokenizer import SlotTokenizer
from cjepa.types import Tokens, to_float_pixels
from tests.contracts import build, concrete_subclasses

CLIPS, BLOCKS, SLOTS, SIDE = 3, 4, 3, 64
APART = 1e-5  # untrained slots that are means over a whole frame hardly notice a small object
SMALL_TRANSFORMER = {"dim": 32, "depth": 2, "num_heads": 2, "patch_size": 16}
SMALL_TRANSFORMER |= {"predictor_width": 16, "predictor_depth": 1, "predictor_heads": 2}
STARTS = concrete_subclasses("cjepa.tokenizers", Start)
INITIALISERS = concrete_subclasses("cjepa.tokenizers", Initialiser)


def with_starts(base: type[Tokenizer]):
    """Every subclass, once for each start or initialiser if it takes one."""
    classes = concrete_subclasses("cjepa.tokenizers", base)
    cases = [(cls, start) for cls in classes for start in starts_of(cls)]
    names = [cls.__name__ + (f"-{start.__name__}" if start else "") for cls, start in cases]
    return pytest.mark.parametrize("case", cases, ids=names)


def starts_of(cls: type) -> list[type | None]:
    taken = inspect.signature(cls).parameters
    return STARTS if "start" in taken else INITIALISERS if "initialiser" in taken else [None]


def made(case: tuple, pixels_BT3YX: torch.Tensor) -> Tokenizer:
    cls, start = case
    torch.manual_seed(0)
    trained = SlotTokenizer(LearnedStart(SLOTS, slot_dim=32))
    first = start and start(SLOTS, slot_dim=32)
    names = {"num_bodies": len(PushT.body_names), "attributes": PushT.attribute_names}
    sizes = {"grid": 4, "num_slots": SLOTS, "image_size": SIDE}
    sizes |= SMALL_TRANSFORMER if "depth" in inspect.signature(cls).parameters else {}
    parts = {"start": first, "initialiser": first, "features": ConvFeatures(image_size=SIDE)}
    tokenizer = build(cls, trained=trained, **parts, **names, **sizes)
    if isinstance(tokenizer, TrainableTokenizer):
        tokenizer.prepare(pixels_BT3YX.flatten(0, 1))
    return tokenizer.eval()


@pytest.fixture(scope="module")
def rows() -> dict[str, torch.Tensor]:
    """Clips of each column that a tokenizer may read, from a simulator in motion."""
    env, clips = PushT(), []
    for seed in range(CLIPS):
        env.reset(seed=seed)
        direction = np.random.default_rng(seed).uniform(-1, 1, 2)
        clips.append([])
        for _ in range(BLOCKS):
            clips[-1].append((env.render_pixels(), env.objects()))
            for _ in range(3):
                env.advance(direction)
    pixels, objects = (np.array(values) for values in zip(*(zip(*clip, strict=True) for clip in clips), strict=True))
    return {"pixels": to_float_pixels(torch.from_numpy(pixels)), "objects": torch.from_numpy(objects)}


@pytest.fixture(scope="module")
def made_before() -> dict[tuple, tuple[Tokenizer, Tokens]]:
    """Tokenizers, and their tokens of the clips: to make them takes longer than most tests."""
    return {}


@pytest.fixture
def encoded(case, rows, made_before) -> tuple[Tokenizer, Tokens]:
    if case not in made_before:
        tokenizer = made(case, rows["pixels"])
        with torch.no_grad():
            made_before[case] = tokenizer, tokenizer.encode(rows[tokenizer.info.column])
    return made_before[case]


@pytest.fixture
def tokenizer(encoded) -> Tokenizer:
    """The same one in every test that does not train it."""
    return encoded[0]


@pytest.fixture
def whole(encoded) -> Tokens:
    """Its tokens of the clips."""
    return encoded[1]


@pytest.fixture
def learner(tokenizer) -> TrainableTokenizer:
    """A copy to train."""
    return copy.deepcopy(tokenizer).train()


@pytest.fixture
def clips(tokenizer, rows) -> torch.Tensor:
    return rows[tokenizer.info.column]


def finite(tokens: Tokens) -> bool:
    return all(torch.isfinite(values).all() for values in tokens)


@with_starts(Tokenizer)
@torch.no_grad()
def test_contract_shapes_and_ranges(tokenizer, whole):
    slots, masks, positions, scales = whole
    size = (SIDE, SIDE) if tokenizer.info.column == "pixels" else (0, 0)
    assert slots.shape == (CLIPS, BLOCKS, tokenizer.num_slots, tokenizer.slot_dim)
    assert masks.shape == (CLIPS, BLOCKS, tokenizer.num_slots, *size)
    assert positions.shape == (CLIPS, BLOCKS, tokenizer.num_slots, 2)
    assert scales.shape == (CLIPS, BLOCKS, tokenizer.num_slots, 1)
    assert finite(whole) and scales.min() >= 0 and positions.abs().max() <= 1
    assert masks.numel() == 0 or (masks.min() >= 0 and masks.sum(dim=2).max() <= 1 + 1e-5)
    assert (slots[0, 0] - slots[1, 0]).abs().max() > APART and (slots[0, 0] - slots[0, -1]).abs().max() > APART


@with_starts(Tokenizer)
@torch.no_grad()
def test_contract_the_same_every_time_and_in_every_batch(tokenizer, clips, whole):
    again, alone = (tokenizer.encode(part) for part in (clips, clips[1:2]))
    for first, second, single in zip(whole, again, alone, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(single[0], first[1], atol=1e-4, rtol=1e-4)


@with_starts(Tokenizer)
@torch.no_grad()
def test_contract_a_frame_knows_nothing_of_the_frames_after_it(tokenizer, clips, whole):
    changed = clips.clone()
    changed[:, 2:] = clips[:, 2:].flip(0)  # other clips' frames
    with_changes = tokenizer.encode(changed)
    for other in (with_changes, tokenizer.encode(clips[:, :2])):
        for first, second in zip(whole, other, strict=True):
            torch.testing.assert_close(second[:, :2], first[:, :2], atol=1e-4, rtol=1e-4)
    assert (with_changes.slots_BTSD[:, 2:] - whole.slots_BTSD[:, 2:]).abs().max() > APART


@with_starts(Tokenizer)
@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_contract_stepping_through_a_clip_is_encoding_it(tokenizer, clips, dtype):
    close = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.05}
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        whole = tokenizer.encode(clips)
        for lengths in ((1, 1, 1, 1), (1, 2, 1)):
            memory, parts = None, []
            for part in clips.split(lengths, dim=1):
                tokens, memory = tokenizer.step(part, memory)
                parts.append(tokens)
            for found, expected in zip(zip(*parts, strict=True), whole, strict=True):
                torch.testing.assert_close(torch.cat(found, dim=1).float(), expected.float(), **close)


@with_starts(Tokenizer)
def test_contract_frames_of_another_size_are_refused(tokenizer):
    if tokenizer.info.column != "pixels":
        return
    assert tokenizer.image_size == SIDE
    assert float_frames(tokenizer, torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)).shape == (1, 3, SIDE, SIDE)
    for height, width in ((SIDE, 2 * SIDE), (2 * SIDE, SIDE)):
        with pytest.raises(UserError, match=rf"{width} x {height} pixels.* {SIDE} x {SIDE}; collect with"):
            float_frames(tokenizer, torch.zeros(1, height, width, 3, dtype=torch.uint8))


@with_starts(Tokenizer)
@torch.no_grad()
def test_contract_decoding(tokenizer, clips, whole):
    slots = whole.slots_BTSD
    decoded = tokenizer.decode(slots)
    if decoded is None:
        return
    frames, masks = decoded
    assert frames.shape == clips.shape and masks.shape == (CLIPS, BLOCKS, tokenizer.num_slots, SIDE, SIDE)
    assert torch.isfinite(frames).all() and masks.min() >= 0 and masks.sum(dim=2).max() <= 1 + 1e-5
    assert all(torch.equal(first, second) for first, second in zip(decoded, tokenizer.decode(slots), strict=True))


@with_starts(Tokenizer)
@torch.no_grad()
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_contract_frames_without_anything_are_finite(tokenizer, clips, value):
    empty = torch.full_like(clips[:1], value)
    assert finite(tokenizer.encode(empty))
    assert finite(tokenizer.encode(torch.cat([empty[:, :2], clips[:1, :2], empty[:, 2:]], dim=1)))


@with_starts(TrainableTokenizer)
def test_contract_losses_are_scalars_with_the_same_names_every_time(learner, clips):
    terms = learner.loss_terms(clips)
    assert terms and all(term.shape == () and torch.isfinite(term) for term in terms.values())
    for part in (clips[:, :1], torch.ones_like(clips)):
        other = learner.loss_terms(part)
        assert list(other) == list(terms) and all(torch.isfinite(term) for term in other.values())


@with_starts(TrainableTokenizer)
def test_contract_every_parameter_learns(learner, clips):
    hints = [torch.rand(CLIPS, SLOTS, learner.info.hint_dim)] if learner.info.hint_dim else []
    for hint in hints:
        hint[:, 0] = torch.nan  # one that is missing
    sum(learner.loss_terms(clips[:, :3], *hints).values()).backward()
    learned = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    dead = [name for name, p in learned.items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []
    assert all(torch.isfinite(p.grad).all() for p in learned.values())


def test_the_starts_are_found():
    assert {LearnedStart, SeededStart} <= set(STARTS)
    assert {LearnedSlots, GaussianSlots, ConditionedSlots} <= set(INITIALISERS)


def test_pixels_to_floats():
    image = torch.zeros(1, 2, 4, 3, dtype=torch.uint8)
    image[0, 1, 3] = torch.tensor([255, 51, 0])
    floats = to_float_pixels(image)
    assert floats.shape == (1, 3, 2, 4) and floats.dtype == torch.float32
    torch.testing.assert_close(floats[0, :, 1, 3], torch.tensor([1.0, 0.2, 0.0]))


def test_cell_centres_by_hand():
    assert cell_centres(2).tolist() == [[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]
    assert cell_centres(1, 2).tolist() == [[-0.5, 0.0], [0.5, 0.0]]


def test_centroids_by_hand():
    masks = torch.zeros(2, 2, 4)
    masks[0, 0, 3], masks[0, 1, 3] = 1.0, 3.0
    assert centroids(masks).tolist() == [[0.75, 0.25], [0.0, 0.0]]  # an empty mask is in the middle


@pytest.mark.parametrize("cls", concrete_subclasses("cjepa.tokenizers", Tokenizer))
def test_flow_is_measured_of_those_that_tell_it(cls):
    assert cls.tells_flow is (cls.flow is not Tokenizer.flow)
