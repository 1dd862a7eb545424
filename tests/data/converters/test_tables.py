"""Columns of Arrow tables as arrays."""

import numpy as np
import pytest

from cjepa.data.converters.tables import numbers
from cjepa.errors import UserError

pa = pytest.importorskip("pyarrow")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]]),
        pa.FixedSizeListArray.from_arrays(pa.array([[2 * k + 1, 2 * k + 2] for k in range(6)]), 2),
        pa.chunked_array([[[[1, 2], [3, 4]]], [[[5, 6], [7, 8]], [[9, 10], [11, 12]]]]),
        pa.array([[[0, 0], [0, 0]], [[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]])[1:],
    ],
    ids=["lists", "lists of fixed size", "chunks", "a slice"],
)
def test_lists_of_lists(column):
    np.testing.assert_array_equal(numbers("here", column), np.arange(1, 13).reshape(3, 2, 2))


def test_plain_numbers():
    assert numbers("here", pa.array([1.5, 2.5])).tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            [[1.0], [2.0, 3.0, 4.0]],
            "lists are missing or have different lengths",
        ),  # 4 values for 2 rows: as many as of two each
        ([[[1.0, 2.0], [3.0]], [[4.0], [5.0, 6.0]]], "lists are missing or have different lengths"),
        ([[1.0, 2.0], None], "lists are missing or have different lengths"),
        ([[1.0, 2.0], [3.0, None]], "1 values are missing"),
        ([1.0, None], "1 values are missing"),
    ],
)
def test_what_is_no_array_is_refused(values, told):
    with pytest.raises(UserError, match=f"here: .*{told}"):
        numbers("here", pa.array(values))
