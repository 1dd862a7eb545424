"""The distance in px and degrees, by hand: tokens hold the state, halved, and the world model's scale doubles them."""

import math

import numpy as np
import pytest
import torch

from cjepa.data.splits import SPLIT_SHARES, lineage_of, split_episodes
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.shards import open_episodes
from cjepa.errors import UserError
from cjepa.evaluation.contents import contents_text
from cjepa.planning.objectives import Goal, LastStepMSE, WeightedSum
from cjepa.planning.probe_error import ProbeError
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.types import Rollout
from tests.conftest import token_attributes
from tests.planning.worlds import PointDynamics
from tests.world_models.test_state_probe import exact

EXACT = exact()
"""Tokens are x, y, and cosine and sine of the angle."""


class Doubled(PointDynamics):
    token_dim = 4

    def denormalise(self, rollout):
        return rollout.map(lambda values: 2 * values)


def tokens_of(*poses) -> torch.Tensor:
    """Poses (x, y, degrees) in the model's units, one block after the other, ``(1, 1, H, 1, 4)``."""
    rows = [(x, y, math.cos(math.radians(turn)), math.sin(math.radians(turn))) for x, y, turn in poses]
    return torch.tensor(rows)[None, None, :, None] / 2


def cost(predicted, goal, **options) -> float:
    tokens, none = tokens_of(*predicted), torch.zeros(1, 1, len(predicted), 0)
    aimed = Goal(tokens_of(goal)[:, 0, 0], torch.zeros(1, 0), torch.zeros(1, 0))
    objective = ProbeError(places=(0, 1), angles=(2,), **options).reading(EXACT, Doubled(proprio_dim=0))
    with torch.autocast("cpu", torch.bfloat16):  # as in planning
        return float(objective(Rollout(tokens, none), torch.zeros(1, 1, len(predicted), 2), aimed))


def test_place_and_angle_add_up_in_tolerances():
    assert cost([(103, 204, 10)], (100, 200, 0)) == pytest.approx(5 / 20 + 10 / 20, abs=1e-4)
    assert cost([(103, 204, 10)], (100, 200, 0), place_tolerance=5, angle_tolerance=40) == pytest.approx(1.25, abs=1e-4)


def test_the_block_that_comes_nearest_counts():
    assert cost([(160, 0, 0), (102, 0, 1), (100, 0, 90)], (100, 0, 0)) == pytest.approx(0.1 + 0.05, abs=1e-4)


def states_as_tokens(path, tokenizer, columns=("tokens", "state", "action", "proprio"), spoilt=()):
    """A token file of 20 episodes whose tokens are the place of a point, in hundreds of px; but for those spoilt."""
    rng, attributes = np.random.default_rng(0), token_attributes(num_slots=1, token_dim=2)
    attributes["tokenizer_fingerprint"] = fingerprint(tokenizer)
    with EpisodeWriter(path, "cjepa-tokens", attributes) as writer:
        for episode in range(20):
            state = rng.uniform(0, 400, (9, 2)).astype(np.float32)
            tokens = (state / (-100 if episode in spoilt else 100))[:, None].astype(np.float16)
            row = {"tokens": tokens, "state": state, "action": state, "proprio": state}
            writer.append({name: row[name] for name in columns})
    return str(path)


def test_it_is_fitted_on_a_token_file_for_one_model(tmp_path):
    """3 and 4 hundred px off."""
    tokenizer = OracleTokenizer(1, ("x", "y")).eval()
    objective = ProbeError(states_as_tokens(tmp_path / "t.h5", tokenizer), places=(0, 1), angles=())
    both = WeightedSum([LastStepMSE(), objective], [0.0, 1.0]).for_model(PointDynamics(), tokenizer, {})
    goal = Goal(torch.zeros(1, 1, 2), torch.zeros(1, 2), torch.ones(1, 2))
    off = Rollout(torch.tensor([3.0, 4.0])[None, None, None, None], torch.zeros(1, 1, 1, 2))
    found = both(off, torch.zeros(1, 1, 1, 4), goal)
    assert float(found) == pytest.approx(500 / 20, rel=0.02)


def lineage(path, **changes):
    file = open_episodes(path)
    return lineage_of(file, 5, ())._replace(**changes)._asdict()


def test_it_is_fitted_on_what_the_model_was_trained_on(tmp_path):
    """No episode that the model holds out, nor one that its training left out."""
    tokenizer = OracleTokenizer(1, ("x", "y")).eval()
    parts = split_episodes(20, SPLIT_SHARES, 5)
    left_out = int(parts["train"][0])
    spoilt = [left_out, *parts["val"], *parts["test"]]
    path = states_as_tokens(tmp_path / "t.h5", tokenizer, spoilt=spoilt)
    errors = []
    for known in (lineage(path, excluded=[left_out]), {}):
        fitted = ProbeError(path, (0, 1), ()).for_model(PointDynamics(), tokenizer, known)
        errors.append(float((fitted._probe(torch.tensor([[1.0, 2.0]])) - torch.tensor([100.0, 200.0])).norm()))
    assert errors[0] < 1 < 10 < errors[1]
    with pytest.raises(UserError, match="split_seed is 3, but the world model was trained with split_seed 5; leave"):
        ProbeError(path, (0, 1), (), split_seed=3).for_model(PointDynamics(), tokenizer, lineage(path))


def test_its_costs_are_decided_by_the_content_of_its_tokens(tmp_path):
    """Kept plans are told apart by this text, at any depth of what was asked."""
    tokenizer = OracleTokenizer(1, ("x", "y")).eval()
    texts = []
    for name, spoilt in (("a", ()), ("b", ()), ("c", [0])):
        objective = ProbeError(states_as_tokens(tmp_path / f"{name}.h5", tokenizer, spoilt=spoilt))
        texts.append(contents_text({"objective": WeightedSum([objective])}))
    assert texts[0] == texts[1] != texts[2]
    assert contents_text(ProbeError(objective.tokens)) != contents_text(ProbeError(objective.tokens, place_tolerance=1))
    with pytest.raises(UserError, match="no-such.h5"):
        contents_text(ProbeError("no-such.h5"))


def test_what_does_not_fit_is_refused(tmp_path):
    tokenizer, other = (OracleTokenizer(1, names).eval() for names in (("x", "y"), ("x",)))
    path = states_as_tokens(tmp_path / "t.h5", tokenizer)
    with pytest.raises(UserError, match="give the token file that the world model was trained on"):
        ProbeError(path, (0, 1), ()).for_model(PointDynamics(), other, {})
    with pytest.raises(UserError, match="index 4 of places or angles, but states of .* have 2 values"):
        ProbeError(path).for_model(PointDynamics(), tokenizer, {})
    bare = states_as_tokens(tmp_path / "bare.h5", tokenizer, ("tokens", "action", "proprio"))
    with pytest.raises(UserError, match="no column 'state'"):
        ProbeError(bare, (0, 1), ()).for_model(PointDynamics(), tokenizer, {})
    reads = ProbeError(path, (0, 1), ()).for_model(PointDynamics(), tokenizer, {})
    goal = Goal(torch.zeros(1, 2, 2), torch.zeros(1, 2), torch.ones(1, 2))
    with pytest.raises(UserError, match="has 2 tokens, but its probe was fitted on 1"):
        reads(Rollout(torch.zeros(1, 1, 1, 2, 2), torch.zeros(1, 1, 1, 2)), torch.zeros(1, 1, 1, 4), goal)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"places": (), "angles": ()}, "places and angles are both empty"),
        ({"places": (-1,)}, "an index of places or angles is -1, expected 0 or more"),
        ({"place_tolerance": 0.0}, "place_tolerance is 0.0, expected a finite number above 0"),
    ],
)
def test_numbers_are_checked(options, said):
    with pytest.raises(ValueError, match=said):
        ProbeError(**options)
