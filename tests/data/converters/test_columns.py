"""Whatever is converted has one dtype and one form, or is refused with its column."""

import numpy as np
import pytest

from cjepa.data.converters.columns import check_sizes, label_images, plain_column
from cjepa.errors import UserError

LABELS = np.array([[[0, 23], [255, 1]]], np.uint8)
"""One label image of 2 x 2 pixels."""


@pytest.mark.parametrize(
    "values",
    [
        LABELS,
        LABELS[..., None],
        LABELS[:, None],
        LABELS.astype(np.int64),
        LABELS.astype(">u2")[..., None],
        LABELS.astype(np.float32),
    ],
)
def test_label_images_in_other_forms_are_the_same_labels(values):
    found = plain_column("here", "masks", values, None)
    assert found.dtype == np.uint8 and found.tolist() == LABELS.tolist()


@pytest.mark.parametrize("name", ["action", "proprio", "state"])
def test_a_number_a_row_is_a_list_of_one(name):
    assert plain_column("here", name, np.array([1.5, 2.5]), None).tolist() == [[1.5], [2.5]]


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("action", (4, 1, 2), r"rows of shape \(1, 2\), expected \(values\)"),
        ("contacts", (4, 3), r"rows of shape \(3,\), expected \(bodies, bodies\)"),
        ("objects", (4,), r"rows of shape \(\), expected \(bodies, attributes\)"),
    ],
)
def test_columns_in_another_form_are_refused(name, shape, expected):
    with pytest.raises(UserError, match=f"here: {expected}; fix or rename"):
        plain_column("here", name, np.zeros(shape, np.float32), None)


def test_masks_of_one_object():
    assert label_images("here", LABELS == 1).tolist() == [[[0, 0], [0, 1]]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, 5, 2, 2), np.uint8), r"here: label images of shape \(5, 2, 2\), expected \(Y, X\)"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"label images of shape \(2, 2, 3\)"),
        (np.zeros((4, 2), np.uint8), r"label images of shape \(2,\)"),
        (LABELS.astype(np.int64) + 1, "256 cannot be stored as uint8"),
        (LABELS.astype(np.int16) - 1, "-1 cannot be stored as uint8"),
        (LABELS / 2, "11.5 cannot be stored as uint8"),
        (np.full((1, 2, 2), np.nan), "nan cannot be stored as uint8"),
    ],
)
def test_what_are_no_label_images(values, message):
    with pytest.raises(UserError, match=message):
        plain_column("here", "masks", values, None)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, np.float64, bool])
@pytest.mark.parametrize("name", ["action", "proprio", "state", "objects"])
def test_numbers_of_other_types_become_float32(name, dtype):
    values = np.array([[[0, 1]], [[1, 0]]], dtype)  # one body
    found = plain_column("here", name, values if name == "objects" else values[:, 0], None)
    assert found.dtype == np.float32 and found.reshape(2, 2).tolist() == [[0, 1], [1, 0]]


def test_columns_without_a_meaning_keep_their_type():
    assert plain_column("here", "task", np.array([1, 2]), None).dtype == np.int64


def test_too_large_for_float32():
    with pytest.raises(UserError, match="row 1: not a finite number"):
        plain_column("here", "action", np.array([[1.0], [1e300]]), None)


def test_masks_lie_on_the_frames():
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    check_sizes("here", {"pixels": frames, "masks": LABELS})
    with pytest.raises(UserError, match=r"here: masks are \(2, 1\), pixels \(2, 2\)"):
        check_sizes("here", {"pixels": frames, "masks": LABELS[:, :, :1]})
