"""An influence graph when a body that takes no part is removed."""

import numpy as np
import pytest
import torch

from cjepa.evaluation.interventions.influence_stability import _rank_correlation, influence_stability
from cjepa.progress import NoProgress
from tests.evaluation.simulated import STRIDE, SimulatedDynamics


class Pairwise(SimulatedDynamics):
    """Every body is pushed by every other, by an amount that depends on the sizes of these two alone."""

    def step(self, state, actions_BA):
        tokens_BSD, size_BS = state.tokens_BSD.clone(), state.tokens_BSD[..., 9]
        tokens_BSD[..., 1] += torch.sin(3 * size_BS[..., None] + 5 * size_BS[:, None]).sum(dim=2)
        return state._replace(tokens_BSD=tokens_BSD)


def test_a_graph_of_pairs_is_stable(lab):
    """Validation scenes, since in the few test scenes never more than three bodies are seen."""
    nobody = lab.val._replace(hops_BOO=np.zeros_like(lab.val.hops_BOO))  # so that everybody may be removed
    found = influence_stability(lab._replace(dynamics=Pairwise(STRIDE)), nobody, ["remove"], 0, NoProgress())
    assert found["remove_moved"].value == pytest.approx(1) and found["remove_moved"].n > 0
    everybody = lab.val._replace(hops_BOO=np.ones_like(lab.val.hops_BOO))
    assert influence_stability(lab, everybody, ["remove"], 0, NoProgress()) == {}


def test_rank_correlations_by_hand():
    """Slots 3, 0, 2 show bodies; the body of slot 0 is removed, so slots 3 and 2 become 2 and 1."""
    before, after = np.zeros((4, 4)), np.zeros((3, 3))
    slots = np.array([3, 0, -1, 2])
    before[3, 2], before[2, 3] = 5.0, 1.0
    after[2, 1], after[1, 2] = 0.3, 0.1
    assert _rank_correlation(slots, 1, before, after) == pytest.approx(1)
    assert _rank_correlation(slots, 1, before, after.T) == pytest.approx(-1)
    assert _rank_correlation(slots, 1, before, np.zeros((3, 3))) == 0
