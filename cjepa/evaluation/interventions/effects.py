"""What interventions change, as a world model predicts it and in the simulator, and how well the two agree.

docs/interventions.md defines every number.

File letter: N trials (a scene, a changed body, a value) and one of the other bodies.
"""

from typing import NamedTuple

import numpy as np

from cjepa.evaluation.binary_scores import binary_scores
from cjepa.evaluation.intervals import bootstrap_correlation, bootstrap_of_clusters
from cjepa.evaluation.measurements import Measurement

AFFECTED_SHARE = 1 / 64
"""Of the table's side: a body is affected if the intervention moves it by more at the last block (8 units, a pixel)."""


class Effects(NamedTuple):
    """Futures of the other bodies, at the last predicted block; places ``(N, 2)`` in the environment's units."""

    way: str
    """A kind of intervention, or another way to make one in tokens."""
    scene_N: np.ndarray
    episode_N: np.ndarray
    changed_N: np.ndarray
    """The body that is changed."""
    body_N: np.ndarray
    """The body that is looked at."""
    start_N2: np.ndarray
    """At the end of the history."""
    true_factual_N2: np.ndarray
    true_N2: np.ndarray
    """After the intervention."""
    factual_N2: np.ndarray
    """As the model predicts it; so is the next."""
    predicted_N2: np.ndarray

    @property
    def true_effects(self) -> np.ndarray:
        """What the intervention changes of x and y, ``(N, 2)`` in the environment's units."""
        return self.true_N2 - self.true_factual_N2

    @property
    def predicted_effects(self) -> np.ndarray:
        """What the model says that it changes, likewise."""
        return self.predicted_N2 - self.factual_N2


def joined(effects: list[Effects], way: str) -> Effects:
    """Several ways of intervening as one."""
    parts = list(zip(*effects, strict=True))[1:]
    return Effects(way, *(np.concatenate(values) for values in parts))


def score_effects(effects: Effects, side_units: float) -> list[Measurement]:
    """How right the model is about what the intervention changes, and what it wrongly changes."""
    true_N2, predicted_N2, episode_N = effects.true_effects, effects.predicted_effects, effects.episode_N
    true_N, predicted_N = (np.linalg.norm(values, axis=1) for values in (true_N2, predicted_N2))
    affected_N = true_N > AFFECTED_SHARE * side_units
    both_N = np.repeat(episode_N, 2)
    cosine_N = (true_N2 * predicted_N2).sum(axis=1) / np.maximum(true_N * predicted_N, 1e-9)
    measured = [
        Measurement.of("effect_correlation", bootstrap_correlation(predicted_N2.ravel(), true_N2.ravel(), both_N)),
        Measurement.of("affected_auroc", binary_scores(predicted_N, affected_N, episode_N).auroc),
    ]
    if affected_N.any():
        inside = affected_N, episode_N[affected_N]
        size = bootstrap_of_clusters(predicted_N[affected_N], inside[1], true_N[affected_N])
        measured += [
            Measurement.of("effect_direction", bootstrap_of_clusters(cosine_N[affected_N], inside[1]), "cosine"),
            Measurement.of("effect_size", size, "of the true size"),
        ]
    if not affected_N.all():
        drift = bootstrap_of_clusters(predicted_N[~affected_N], episode_N[~affected_N])
        measured.append(Measurement.of("effect_on_unaffected", drift, "units"))
    return measured


def score_errors(effects: Effects, side_units: float) -> dict[str, list[Measurement]]:
    """Errors of the counterfactual place of affected and unaffected bodies: of the model, and of rivals.

    The rivals: the model's factual prediction, the place at the end of the history, and the true factual future.
    """
    true_N = np.linalg.norm(effects.true_effects, axis=1)
    affected_N = true_N > AFFECTED_SHARE * side_units
    answers = {
        "model": effects.predicted_N2,
        "factual prediction": effects.factual_N2,
        "copying": effects.start_N2,
        "true factual future": effects.true_factual_N2,
    }
    return {
        name: [
            Measurement.of(
                f"counterfactual_error_{group}",
                bootstrap_of_clusters(
                    np.linalg.norm(place_N2 - effects.true_N2, axis=1)[of_N], effects.episode_N[of_N]
                ),
                "units",
            )
            for group, of_N in (("affected", affected_N), ("unaffected", ~affected_N))
            if of_N.any()
        ]
        for name, place_N2 in answers.items()
    }
