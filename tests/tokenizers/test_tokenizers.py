import numpy as np
import pytest
import torch

from cjepa.data.collect import Collection, collect
from cjepa.envs.policies import PushTBehaviour
from cjepa.envs.pusht import PushT
from cjepa.errors import UserError
from cjepa.tokenizers import cache
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.cache import TokenizerSpec, build_tokenizer, encode_frames, fingerprint, tokenize
from cjepa.tokenizers.patches import PatchTokenizer
from cjepa.tokenizers.slots import SlotTokenizer
from cjepa.tokenizers.sprites import cell_centres
from cjepa.types import to_float_pixels
from tests.conftest import ignore_progress
from tests.contracts import build, concrete_subclasses


def slot_tokenizer(seed: int = 0) -> SlotTokenizer:
    torch.manual_seed(seed)
    return SlotTokenizer(num_slots=3, image_size=64).eval()


@pytest.fixture(params=concrete_subclasses("cjepa.tokenizers", Tokenizer), ids=lambda cls: cls.__name__)
def tokenizer(request) -> Tokenizer:
    torch.manual_seed(0)
    return build(request.param, slots=slot_tokenizer(), grid=4, num_slots=3, image_size=64).eval()


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    env = PushT()
    return torch.from_numpy(np.stack([env.reset(seed=seed)[0]["pixels"] for seed in range(3)]))


@pytest.fixture(scope="module")
def pixels(frames) -> torch.Tensor:
    return to_float_pixels(frames)


def test_pixels_to_floats():
    image = torch.zeros(1, 2, 4, 3, dtype=torch.uint8)
    image[0, 1, 3] = torch.tensor([255, 51, 0])
    floats = to_float_pixels(image)
    assert floats.shape == (1, 3, 2, 4) and floats.dtype == torch.float32
    torch.testing.assert_close(floats[0, :, 1, 3], torch.tensor([1.0, 0.2, 0.0]))


@torch.no_grad()
def test_contract_shapes_and_ranges(tokenizer, pixels):
    slots, masks, positions = tokenizer.encode(pixels)
    assert slots.shape == (3, tokenizer.num_slots, tokenizer.slot_dim)
    assert masks.shape == (3, tokenizer.num_slots, 64, 64)
    assert positions.shape == (3, tokenizer.num_slots, 2)
    assert all(torch.isfinite(values).all() for values in (slots, masks, positions))
    assert masks.min() >= 0 and masks.sum(dim=1).max() <= 1 + 1e-5
    assert positions.abs().max() <= 1


@torch.no_grad()
def test_contract_deterministic_and_per_frame(tokenizer, pixels):
    whole, again = tokenizer.encode(pixels), tokenizer.encode(pixels)
    alone = tokenizer.encode(pixels[1:2])
    for first, second, single in zip(whole, again, alone, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(single[0], first[1], atol=1e-4, rtol=1e-4)
    assert (whole.slots_BSD[0] - whole.slots_BSD[1]).abs().max() > 1e-3


@torch.no_grad()
def test_contract_decoding(tokenizer, pixels):
    decoded = tokenizer.decode(tokenizer.encode(pixels).slots_BSD)
    if decoded is not None:
        images, masks = decoded
        assert images.shape == pixels.shape and masks.shape == (3, tokenizer.num_slots, 64, 64)
        assert masks.min() >= 0 and masks.sum(dim=1).max() <= 1 + 1e-5


@torch.no_grad()
def test_contract_empty_frames_are_finite(tokenizer):
    slots, masks, positions = tokenizer.encode(torch.ones(1, 3, 64, 64))
    assert all(torch.isfinite(values).all() for values in (slots, masks, positions))


@torch.no_grad()
def test_slots_follow_what_is_there(pixels):
    """Salience draws every slot to the only thing in the frame."""
    frame = torch.ones(2, 3, 64, 64)
    frame[0, :, 8:16, 40:48] = 0.2  # y around 12, x around 44
    frame[1, :, 40:48, 8:16] = 0.2
    positions = slot_tokenizer().encode(frame).positions_BS2
    expected = torch.tensor([44.0, 12.0]) / 32 - 1
    torch.testing.assert_close(positions[0], expected.expand(3, 2), atol=0.1, rtol=0)
    torch.testing.assert_close(positions[1], expected.flip(0).expand(3, 2), atol=0.1, rtol=0)


@torch.no_grad()
def test_patch_masks_are_the_cells(pixels):
    tokens = PatchTokenizer(slot_tokenizer(), 4).eval().encode(pixels)
    assert tokens.masks_BSYX.sum(dim=1).eq(1).all()
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    for slot in (0, 1, 7, 15):
        inside = tokens.masks_BSYX[0, slot].bool()
        assert inside.sum() == 16 * 16
        centre = (torch.stack([x[inside].mean(), y[inside].mean()]) + 0.5) / 32 - 1
        torch.testing.assert_close(tokens.positions_BS2[0, slot], centre)


@torch.no_grad()
def test_patches_see_their_surroundings_only(pixels):
    patches = PatchTokenizer(slot_tokenizer(), 4).eval()
    changed = pixels.clone()
    changed[:, :, :8, -8:] = 0.0  # the top right corner is the last cell of the first row
    difference = (patches.encode(changed).slots_BSD - patches.encode(pixels).slots_BSD).abs().amax(dim=(0, 2))
    assert difference[3] > 1e-3 and difference[12] < 1e-6 and difference[8] < 1e-6


def test_a_grid_has_to_fit():
    with pytest.raises(ValueError, match="5"):
        PatchTokenizer(slot_tokenizer(), 5)


def test_cell_centres_by_hand():
    assert cell_centres(2).tolist() == [[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]


def test_the_fingerprint_changes_with_any_weight_and_with_the_kind():
    ours, copy, other = slot_tokenizer(), slot_tokenizer(), slot_tokenizer(seed=1)
    assert fingerprint(ours) == fingerprint(copy) != fingerprint(other)
    assert fingerprint(PatchTokenizer(ours, 4)) not in (fingerprint(ours), fingerprint(PatchTokenizer(ours, 8)))
    last = list(copy.parameters())[-1]
    with torch.no_grad():
        last.view(-1)[-1] += 1e-3
    assert fingerprint(copy) != fingerprint(ours)


def test_encode_frames(frames):
    tokenizer = slot_tokenizer()
    tokens = encode_frames(tokenizer, frames)
    assert tokens.dtype == torch.float32 and tokens.shape == (3, 3, tokenizer.slot_dim)
    assert torch.equal(tokens, encode_frames(tokenizer, frames))


def test_tokens_of_a_file(tmp_path, monkeypatch):
    job = Collection("cjepa/PushT-v0", PushTBehaviour(), episodes=3, episode_env_steps=7, seed=0, with_masks=False)
    episodes = collect(job, tmp_path / "episodes.h5", {}, 1, ignore_progress)
    tokenizer, spec = slot_tokenizer(), TokenizerSpec("any.ckpt", 0)
    monkeypatch.setattr(cache, "build_tokenizer", lambda given: tokenizer)
    done = []
    tokens = tokenize(spec, episodes, tmp_path / "tokens.h5", done.append)
    assert sum(done) == 21 and tokens.lengths.tolist() == [7, 7, 7]
    assert tokens.attributes["format"] == "cjepa-tokens"
    assert tokens.attributes["episodes_fingerprint"] == episodes.fingerprint
    assert tokens.attributes["tokenizer_fingerprint"] == fingerprint(tokenizer)
    assert (tokens.attributes["num_slots"], tokens.attributes["token_dim"]) == (3, tokenizer.slot_dim)
    assert tokens.columns["tokens"] == ((21, 3, tokenizer.slot_dim), np.float16)
    for name in ("action", "proprio", "state"):
        np.testing.assert_array_equal(tokens.read(name, 0, 21), episodes.read(name, 0, 21))
    for index in range(3):
        expected = encode_frames(tokenizer, torch.from_numpy(episodes.episode(index)["pixels"]))
        found = torch.from_numpy(tokens.episode(index)["tokens"]).float()
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)  # bfloat16 in batches of other sizes
    with pytest.raises(UserError, match="tokens.h5 exists"):
        tokenize(spec, episodes, tmp_path / "tokens.h5", ignore_progress)


def test_a_missing_checkpoint_is_named():
    with pytest.raises(UserError, match="nowhere.ckpt"):
        build_tokenizer(TokenizerSpec("nowhere.ckpt", 0))
