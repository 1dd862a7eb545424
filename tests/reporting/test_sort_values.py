"""Numbers of cells, by hand."""

import pytest

from cjepa.reporting.sort_values import sort_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9 [8, 10]", 9),
        ("10 [?, ?]", 10),
        ("-0.25 [-0.4, +0.1]", -0.25),
        ("+0.5", 0.5),
        ("1e-05", 1e-5),
        ("1,200 MB", 1200),
        ("12 %", 12),
        ("2 x 34 (1,068)", 1068),
        ("12 ms", 0.012),
        ("3 min 21 s", 201),
        ("2 h 5 min", 7500),
        ("2 s (cached)", 2),
    ],
)
def test_numbers(text, value):
    assert sort_value(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "4x4 patches", "cjepa-1", "50 pairs", "2 sizes", "5, 10", "12 minutes"])
def test_words(text):
    assert sort_value(text) is None
