"""Which slot shows which body."""

import numpy as np
import torch

from cjepa.evaluation.bodies import match_slots


def test_slots_are_matched_to_bodies_by_overlap():
    labels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    labels[0, 0], labels[0, 1], labels[0, 2, 0] = 1, 2, 3
    masks = torch.zeros(1, 3, 4, 4)
    masks[0, 0, 1], masks[0, 2, 0, :3], masks[0, 1, 3, 3] = 1, 1, 1
    found = match_slots(masks, labels, np.array([[True, True, True, False]]))
    assert found.tolist() == [[2, 0, -1, -1]]
    assert match_slots(masks, labels, np.array([[False, True, True, False]])).tolist() == [[-1, 0, -1, -1]]
