"""Where slots begin: learned, or seeded on what is there; followed over hand-made videos."""

import pytest
import torch

from cjepa.tokenizers.grid import cell_centres
from cjepa.tokenizers.slots.slot_attention import Frame, SlotState
from cjepa.tokenizers.slots.starts import LearnedStart, fade
from cjepa.types import Tokens
from tests.tokenizers.squares import SIDE, Squares, colour_tokenizer, slot_at, video

RED, GREEN, BLUE = (8, 8), (44, 12), (20, 44)
ALL = {"red": RED, "green": GREEN, "blue": BLUE}


def without(*colours: str) -> Squares:
    return {name: corner for name, corner in ALL.items() if name not in colours}


@torch.no_grad()
def encoded(*frames: Squares, num_slots: int = 5) -> Tokens:
    return colour_tokenizer(num_slots).encode(video(*frames))


def slots_at(tokens: Tokens, t: int, *corners: tuple[int, int]) -> list[int]:
    return [slot_at(tokens.positions_BTS2[0, t], tokens.scales_BTS1[0, t], corner) for corner in corners]


def owner(tokens: Tokens, t: int, corner: tuple[int, int]) -> int:
    """The slot that has most of a square."""
    x, y = corner
    return int(tokens.masks_BTSYX[0, t, :, y : y + SIDE, x : x + SIDE].sum(dim=(1, 2)).argmax())


def in_use(tokens: Tokens) -> list[int]:
    """How many slots have an object at each frame; the tokens of the others are zero, and of those they are not."""
    used_TS = tokens.scales_BTS1[0, :, :, 0] > 0
    assert torch.equal(tokens.slots_BTSD[0].abs().amax(dim=-1) > 0, used_TS)
    return used_TS.sum(dim=1).tolist()


def in_view(tokens: Tokens) -> torch.Tensor:
    """The last value of a token: how much of the object is in view."""
    return tokens.slots_BTSD[0, :, :, -1]


def test_three_squares_are_three_slots_and_the_others_stay_empty():
    tokens = encoded(ALL)
    assert len(set(slots_at(tokens, 0, RED, GREEN, BLUE))) == 3 and in_use(tokens) == [3]
    used = tokens.scales_BTS1[0, 0, :, 0] > 0
    half_cell = torch.full((3,), 0.0625)  # two by two cells
    torch.testing.assert_close(tokens.scales_BTS1[0, 0, used, 0], half_cell, atol=1e-3, rtol=0)
    masks = tokens.masks_BTSYX[0, 0]
    torch.testing.assert_close(masks.sum(dim=(1, 2)), 64.0 * used, atol=0.1, rtol=0)


def test_an_empty_table_has_no_slots():
    assert in_use(encoded({}, {})) == [0, 0]


def test_more_squares_than_slots_are_shared_out():
    tokens = encoded(ALL, num_slots=2)
    assert in_use(tokens) == [2]
    is_square = video(ALL)[0, 0].amax(dim=0)
    torch.testing.assert_close(tokens.masks_BTSYX[0, 0].sum(dim=0), is_square, atol=1e-3, rtol=0)


def test_slots_follow_squares_that_move():
    tokens = encoded(*({"red": (4 * t, 8), "green": (40, 48 - 4 * t)} for t in range(8)))
    first = slots_at(tokens, 0, (0, 8), (40, 48))
    assert all(slots_at(tokens, t, (4 * t, 8), (40, 48 - 4 * t)) == first for t in range(8))
    assert in_use(tokens) == [2] * 8


def test_what_enters_gets_a_free_slot_and_the_others_keep_theirs():
    tokens = encoded(without("blue"), without("blue"), ALL, ALL)
    red, green = slots_at(tokens, 0, RED, GREEN)
    for t in (2, 3):
        assert slots_at(tokens, t, RED, GREEN) == [red, green]
    assert slots_at(tokens, 2, BLUE) == slots_at(tokens, 3, BLUE)
    assert in_use(tokens) == [2, 2, 3, 3]


@pytest.mark.parametrize("gone", [1, 3, 5])
def test_what_is_gone_for_five_frames_comes_back_into_its_slot(gone):
    """Although another slot is free by then, the one that red has left for good."""
    first = 9
    tokens = encoded(ALL, *[without("red")] * (first - 1), *[without("red", "green")] * gone, without("red"))
    red, green, blue = slots_at(tokens, 0, RED, GREEN, BLUE)
    assert green > red  # free slots are taken in order
    back = first + gone
    for t in range(first - 1, back + 1):  # remembered in between
        assert slots_at(tokens, t, GREEN, BLUE) == [green, blue]
    seen = in_view(tokens)[first - 1 :, green]
    torch.testing.assert_close(seen, torch.tensor([1.0] + [0.0] * gone + [1.0]), atol=1e-3, rtol=0)
    known = tokens.slots_BTSD[0, :, green, :-1]
    torch.testing.assert_close(known[first:back], known[:1].expand(gone, -1), atol=1e-3, rtol=0)


def test_what_stays_away_frees_its_slot():
    tokens = encoded(ALL, *[without("green")] * 8, ALL, num_slots=3)
    red, green, blue = slots_at(tokens, 0, RED, GREEN, BLUE)
    assert in_use(tokens) == [3] * 7 + [2, 2, 3]
    assert slots_at(tokens, 9, RED, GREEN, BLUE) == [red, green, blue]  # the only free slot


def test_what_is_out_of_view_moves_on():
    seen = [{"red": (4 + 4 * t, 8), "green": GREEN} for t in range(3)]
    later = {"red": (4 + 4 * 6, 8), "green": GREEN}
    tokens = encoded(*seen, *[{"green": GREEN}] * 3, later)
    (red,) = slots_at(tokens, 2, (12, 8))
    for t in range(3, 7):
        assert slots_at(tokens, t, (4 + 4 * t, 8)) == [red]


@pytest.mark.parametrize("gone", [1, 3, 5])
@pytest.mark.parametrize("pace", [0, 4, 8])
def test_what_is_hidden_keeps_its_slot_beside_what_is_not(gone, pace):
    """Attention that goes by places alone shares the green square between its slot and that of the hidden blue one."""
    tokenizer = colour_tokenizer(5)
    tokenizer.attention.to_query.weight.requires_grad_(False).zero_()
    green = [(48 - pace * t, 32) for t in range(gone + 3)]
    hidden = [{"green": corner} for corner in green[2:-1]]
    seen = [{"blue": BLUE, "green": corner} for corner in (*green[:2], green[-1])]
    with torch.no_grad():
        tokens = tokenizer.encode(video(*seen[:2], *hidden, seen[2]))
    owners = [[owner(tokens, t, BLUE), owner(tokens, t, green[t])] for t in (1, gone + 2)]
    assert owners[0] == owners[1] and len(set(owners[0])) == 2


@pytest.mark.parametrize("left", [62, 63])
def test_a_sliver_of_what_enters_moves_no_slot_from_its_object(left):
    """Too little for a slot of its own, it is given to the others, which are then expected beside their objects."""
    red = {"red": (24, 0)}
    tokens = encoded(red, *[red | {"blue": (left, 0)}] * 2, *[red | {"blue": (56, 0)}] * 2)
    assert [owner(tokens, t, (24, 0)) for t in range(5)] == [owner(tokens, 0, (24, 0))] * 5
    assert in_use(tokens) == [1, 1, 1, 2, 2]


def test_a_slot_that_is_used_again_starts_at_rest():
    """Its new object has not come from where the old one was."""
    new = {"blue": (48, 48)}
    tokens = encoded({"red": (0, 0)}, *[{}] * 6, new, {}, new, num_slots=1)
    for t in (7, 8, 9):
        assert slots_at(tokens, t, (48, 48)) == [0]


def test_what_jumps_keeps_its_slot():
    tokens = encoded(ALL, without("red") | {"red": (44, 44)}, ALL)
    assert slots_at(tokens, 0, RED, GREEN, BLUE) == slots_at(tokens, 1, (44, 44), GREEN, BLUE)
    assert slots_at(tokens, 0, RED, GREEN, BLUE) == slots_at(tokens, 2, RED, GREEN, BLUE)
    assert in_use(tokens) == [3, 3, 3]


@torch.no_grad()
def test_slots_do_not_depend_on_the_batch():
    tokenizer = colour_tokenizer(5)
    clips = [video(ALL, without("red"), ALL), video(without("blue"), ALL, without("green")), video({}, {}, ALL)]
    together = tokenizer.encode(torch.cat(clips))
    for index, clip in enumerate(clips):
        for values, alone in zip(together, tokenizer.encode(clip), strict=True):
            torch.testing.assert_close(values[index], alone[0], atol=1e-5, rtol=1e-5)


def a_state(slots: int, **values) -> SlotState:
    zeros = {"content_BSK": 4, "position_BS2": 2, "scale_BS1": 1, "motion_BS2": 2, "hue_BS3": 3}
    zeros |= {"seen_BS1": 1, "memory_BS1": 1}
    return SlotState(**{name: torch.zeros(1, slots, size) for name, size in zeros.items()})._replace(**values)


def test_a_learned_start_is_at_the_centre_of_what_is_there():
    start = LearnedStart(2, slot_dim=4)
    salience = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 3.0, 1.0]])
    frame = Frame(torch.zeros(2, 4, 4), torch.zeros(2, 4, 3), salience, cell_centres(2).expand(2, 4, 2))
    state = start(None, frame)
    expected = torch.tensor([[0.0, 0.0], [-0.25, 0.5]])
    torch.testing.assert_close(state.position_BS2, expected[:, None].expand(2, 2, 2), atol=1e-3, rtol=0)
    spread = torch.tensor([0.5, (0.5 * (0.75 * 0.25**2 + 0.25 * 0.75**2)) ** 0.5])
    torch.testing.assert_close(state.scale_BS1[..., 0], spread[:, None].expand(2, 2), atol=1e-3, rtol=0)
    assert torch.equal(state.content_BSK, start.content.expand(2, -1, -1))
    assert state.memory_BS1.eq(1).all() and state.motion_BS2.eq(0).all()
    assert start(state, frame) is state  # later on it has nothing to say


def test_fading_by_hand():
    position = torch.tensor([[[0.5, -0.25], [1.1, 0.0]]])
    motion = torch.tensor([[[0.125, 0.25], [0.5, 0.0]]])
    faded = fade(a_state(2, position_BS2=position, motion_BS2=motion, memory_BS1=torch.tensor([[[1.0], [0.5]]])))
    torch.testing.assert_close(faded.position_BS2, torch.tensor([[[0.625, 0.0], [1.2, 0.0]]]))  # just outside is enough
    torch.testing.assert_close(faded.memory_BS1, torch.tensor([[[0.8], [0.4]]]))
    assert torch.equal(faded.motion_BS2, motion)
