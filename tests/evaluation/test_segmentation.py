from cjepa.evaluation.segmentation import contingency
from tests.evaluation.segments import LABELS, SPLIT


def test_contingency_by_hand():
    assert contingency(SPLIT, LABELS).tolist() == [[[[2, 1, 1, 0], [2, 2, 0, 0], [0, 0, 4, 0]]]]
    assert contingency(SPLIT[0], LABELS[0]).tolist() == [[[2, 1, 1, 0], [2, 2, 0, 0], [0, 0, 4, 0]]]
    assert contingency(0.6 * SPLIT, LABELS).tolist() == contingency(SPLIT, LABELS).tolist()
    assert contingency(0.4 * SPLIT, LABELS).tolist() == [[[[0, 0, 0, 4]] * 3]]  # covered by less than a half
