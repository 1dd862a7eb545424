"""Drawings as files, and what a page takes in of them."""

import re

import pytest

from cjepa.errors import UserError
from cjepa.reporting.drawings import read_drawing, write_drawing
from cjepa.reporting.style import hover_points, new_figure, style


def a_figure():
    with style():
        figure = new_figure(3.6, 2.0)
        axes = figure.subplots()
        axes.set_xlabel("a <b> & c")
        axes.scatter([1, 2], [1, 2], rasterized=True)
        hover_points(axes, [1.0], [2.0], ["body 1: 0.5"])
    return figure


def test_a_file_opens_by_itself_and_becomes_part_of_a_page(tmp_path):
    write_drawing(tmp_path / "one.svg", a_figure())
    file, page = (tmp_path / "one.svg").read_text(), read_drawing(tmp_path / "one.svg")
    for text in (file, page):
        assert "<title>body 1: 0.5</title>" in text and "a &lt;b&gt; &amp; c" in text and "data:image/png" in text
    assert 'xmlns="http://www.w3.org/2000/svg"' in file and "var(" not in file
    assert "http" not in page and "fill: var(--ink)" in page and 'style="width:259.2pt"' in page


@pytest.mark.parametrize(
    ("strange", "said"),
    [
        ("<script>x</script>", "has <script>"),
        ("<foreignObject/>", "has <foreignObject>"),
        ('<path onload="x"/>', "has onload='x'"),
        ('<a xlink:href="https://x"/>', "has <a>"),
        ('<image xlink:href="https://x/y.png"/>', "has href='https://x/y.png'"),
        ('<path style="fill: url(https://x)"/>', "has style="),
        ("<style>* {fill: red}</style>", "has <style>"),
        ("<!-- x -->", "is not SVG alone"),
        ("<g>", "is not XML"),
    ],
)
def test_what_is_not_ours_stays_out(tmp_path, strange, said):
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    (tmp_path / "one.svg").write_text(f"{head}<g/>{strange}</svg>")
    with pytest.raises(UserError, match=f"one.svg: {re.escape(said)}"):
        read_drawing(tmp_path / "one.svg")
