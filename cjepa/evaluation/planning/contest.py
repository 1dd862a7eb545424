"""The trials of a planning evaluation, the same for every agent: where their pairs are from, and how they are drawn."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cjepa.configuration.run_config import data_options
from cjepa.data.store.episodes import Episodes
from cjepa.evaluation.planning.against import Rival, read_rivals
from cjepa.evaluation.planning.pairs import Pairs, PairSource, draw_pairs, held_out_from
from cjepa.evaluation.planning.protocol import PlanningProtocol
from cjepa.evaluation.planning.published import draw_as_published, trained_on
from cjepa.evaluation.planning.told import draw_told_pairs


class Contest(NamedTuple):
    """The trials that agents are compared on."""

    protocol: PlanningProtocol
    """With the environment of the episodes."""
    fingerprint: str
    """Of the episodes."""
    source: PairSource
    """Of the pairs."""
    pairs: Pairs
    rivals: tuple[Rival, ...] = ()
    """Agents of an earlier evaluation of these trials, to compare with."""


def source_of(protocol: PlanningProtocol, file: Episodes, lineage: Mapping[str, Any], checkpoint: Path) -> PairSource:
    """Episodes for the pairs of a model: those that it did not learn from, or that it did where pairs are as published.

    Args:
        protocol: of the evaluation.
        file: its episodes.
        lineage: of the model, as its checkpoint holds it.
        checkpoint: of the model.

    Raises:
        UserError: as :func:`held_out_from` and :func:`trained_on`.
    """
    options = (file, lineage, data_options(checkpoint))
    return trained_on(*options) if protocol.published_protocol else held_out_from(*options, protocol.split)


def draw_contest(
    protocol: PlanningProtocol, file: Episodes, source: PairSource, goal_state: np.ndarray | None
) -> Contest:
    """Draw the pairs of a protocol, and read what they are to be compared with.

    Args:
        protocol: with the environment of its episodes.
        file: its episodes.
        source: of the pairs.
        goal_state: of all pairs; None for states of the episodes.

    Raises:
        UserError: there are too few pairs, or the trials of the other evaluation are others.
    """
    among = (file, source.episodes, protocol.make_env(), protocol.pairs, protocol.goal_env_steps, protocol.seed)
    if protocol.goal_text is not None:
        pairs = draw_told_pairs(*among, protocol.sentences)
    else:
        pairs = draw_as_published(*among) if protocol.published_protocol else draw_pairs(*among, goal_state)
    pairs = pairs.of_states(protocol.shifted)
    rivals = ()
    if protocol.against is not None:
        rivals = tuple(read_rivals(Path(protocol.against), pairs, protocol, file.fingerprint))
    return Contest(protocol, file.fingerprint, source, pairs, rivals)
