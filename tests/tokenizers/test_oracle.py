"""The simulator's objects as tokens."""

import math

import pytest
import torch

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.origins import tokenizer_of
from cjepa.errors import UserError
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.tokenizers.slots.sprites import embed_position
from cjepa.tokenizers.specs import TokenizerSpec, build_tokenizer, tokenizer_spec
from cjepa.tokenizers.token_files import tokenize
from tests.conftest import ignore_progress

ATTRIBUTES = ("x", "angle", "vx")
OBJECTS = torch.tensor([[[[3.0, math.pi / 2, -1.0], [500.0, math.pi, 0.25]]]])  # (1, 1, 2, 3)
BY_HAND = torch.tensor([[[[3.0, -1.0, 0.0, 1.0], [500.0, 0.25, -1.0, 0.0]]]])


def test_tokens_by_hand():
    tokens = OracleTokenizer(2, ATTRIBUTES).encode(OBJECTS)
    torch.testing.assert_close(tokens.slots_BTSD, BY_HAND)  # angles last, as cosine and sine
    assert tokens.masks_BTSYX.shape == (1, 1, 2, 0, 0) and tokens.positions_BTS2.eq(0).all()


def test_some_attributes_by_hand():
    """In the order of the attributes, whatever that of the names."""
    tokenizer = OracleTokenizer(2, ATTRIBUTES, kept=("angle", "x"))
    torch.testing.assert_close(tokenizer.encode(OBJECTS).slots_BTSD, BY_HAND[..., [0, 2, 3]])
    assert tokenizer.slot_dim == 3 and tokenizer.readable(("x",)) == [0] and tokenizer.readable(("vx",)) is None
    with pytest.raises(ValueError, match="no attribute colour; the objects have x, angle, vx"):
        OracleTokenizer(2, ATTRIBUTES, kept=("colour",))


def test_other_attributes_are_another_tokenizer():
    """Tokens of one are not taken for those of the other, though both are as wide."""
    by_place, by_velocity = (OracleTokenizer(2, ATTRIBUTES, kept=(name,)) for name in ("x", "vx"))
    assert fingerprint(by_place) != fingerprint(by_velocity)
    assert fingerprint(OracleTokenizer(2, ATTRIBUTES, kept=ATTRIBUTES)) == fingerprint(OracleTokenizer(2, ATTRIBUTES))


def test_places_as_waves():
    """Where a body is, a slot's place would be; one that is not there has none, like an empty slot."""
    tokenizer = OracleTokenizer(2, ("present", "x", "y", "vx"), side_units=200.0)
    tokens = tokenizer.encode(torch.tensor([[[[1.0, 50.0, 150.0, 3.0], [0.0, 50.0, 150.0, 4.0]]]])).slots_BTSD
    torch.testing.assert_close(tokens[0, 0, 0, 2:], embed_position(torch.tensor([-0.5, 0.5])))
    assert tokens[0, 0, :, :2].tolist() == [[1.0, 3.0], [0.0, 4.0]] and tokens[0, 0, 1, 2:].eq(0).all()
    torch.testing.assert_close(tokenizer.places(tokens)[0, 0, 0], torch.tensor([50.0, 150.0]))
    assert tokenizer.slot_dim == 18 and tokenizer.readable(("vx",)) == [1] and tokenizer.readable(("x",)) is None
    assert fingerprint(tokenizer) != fingerprint(OracleTokenizer(2, ("present", "x", "y", "vx"), side_units=100.0))


@pytest.mark.parametrize("options", [{"dim": 8}, {"kept": ("x", "angle")}])
def test_waves_of_what_is_not_there(options):
    with pytest.raises(ValueError, match="side_units 200: expected x and y"):
        OracleTokenizer(2, ("x", "y", "angle"), side_units=200.0, **options)


def test_an_angle_is_the_same_a_turn_later():
    turned = OBJECTS + torch.tensor([0.0, 2 * math.pi, 0.0])
    first, second = (OracleTokenizer(2, ATTRIBUTES).encode(objects).slots_BTSD for objects in (OBJECTS, turned))
    torch.testing.assert_close(first, second, atol=1e-5, rtol=0)


def test_autocast_does_not_round():
    with torch.autocast("cpu", torch.bfloat16):
        for dim in (0, 8):
            tokenizer = OracleTokenizer(2, ATTRIBUTES, dim)
            found = tokenizer.encode(OBJECTS).slots_BTSD
            expected = BY_HAND.double() @ tokenizer.projection_AD.double()
            torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


def test_the_projection_is_the_same_every_time():
    torch.manual_seed(1)
    first = OracleTokenizer(2, ATTRIBUTES, dim=16)
    torch.manual_seed(2)
    second = OracleTokenizer(2, ATTRIBUTES, dim=16)
    assert torch.equal(first.encode(OBJECTS).slots_BTSD, second.encode(OBJECTS).slots_BTSD)
    assert first.slot_dim == 16 and fingerprint(first) == fingerprint(second)
    assert fingerprint(first) not in {fingerprint(OracleTokenizer(2, ATTRIBUTES, dim)) for dim in (0, 8)}
    # nothing is lost in a projection to more values than there are
    recovered = torch.linalg.lstsq(first.projection_AD.T, first.encode(OBJECTS).slots_BTSD[0, 0].T).solution.T
    torch.testing.assert_close(recovered, BY_HAND[0, 0], rtol=1e-3, atol=1e-3)


def test_token_files(tmp_path, episodes):
    spec = tokenizer_spec("oracle:12", episodes)
    tokens = tokenize(spec, episodes, tmp_path / "tokens.h5", ignore_progress)
    assert (tokens.attributes["num_slots"], tokens.attributes["token_dim"]) == (2, 12)
    raw = tokenize(tokenizer_spec("oracle", episodes), episodes, tmp_path / "raw.h5", ignore_progress).episode(7)
    objects, state = (episodes.episode(7)[name] for name in ("objects", "state"))
    x, y, angle = objects[:, 1, 0], objects[:, 1, 1], state[:, 4]
    found = torch.from_numpy(raw["tokens"][:, 1].astype("float64"))  # x, y, vx, vy, angular velocity, cosine, sine
    expected = torch.stack([torch.from_numpy(part).double() for part in (x, y)], dim=1)
    torch.testing.assert_close(found[:, :2], expected, rtol=1e-3, atol=0)  # float16
    angle = torch.from_numpy(angle).double()
    torch.testing.assert_close(found[:, 5:], torch.stack([angle.cos(), angle.sin()], dim=1), atol=1e-3, rtol=0)


@pytest.mark.parametrize("words", ["oracle:12", "oracle:x,y,angle"])
def test_the_same_oracle_comes_back_from_a_file(words, tmp_path, episodes):
    file = tokenize(tokenizer_spec(words, episodes), episodes, tmp_path / "tokens.h5", ignore_progress)
    tokenizer = build_tokenizer(TokenizerSpec.from_plain(tokenizer_of(file)))
    assert fingerprint(tokenizer) == file.attributes["tokenizer_fingerprint"]


def test_what_an_oracle_cannot_read(tmp_path, episodes):
    for wrong in ("oracle:", "oracle:x,", "oracle:0"):
        with pytest.raises(UserError, match=f"{wrong}: expected"):
            tokenizer_spec(wrong, episodes)
    with pytest.raises(UserError, match="no attribute many; the objects have x, y, angle, vx, vy, angular_velocity"):
        build_tokenizer(tokenizer_spec("oracle:x,many", episodes))
    with pytest.raises(UserError, match="patch_grid 4"):
        tokenizer_spec("oracle", episodes, patch_grid=4)
    columns = episodes.episode(0, ["objects", "state"])
    for name, kept in (("bare", ["state"]), ("unnamed", ["objects", "state"])):
        with EpisodeWriter(tmp_path / f"{name}.h5", "cjepa-episodes", {}) as writer:
            writer.append({column: columns[column] for column in kept})
        with pytest.raises(UserError, match=f"{name}.h5.*oracle"):
            tokenizer_spec("oracle", EpisodeFile(tmp_path / f"{name}.h5"))
