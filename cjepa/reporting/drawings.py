"""Drawings of a run as SVG files, and how a page takes them in: whole, so that they have its colours and can be asked.

A folder may come from anybody, so only what this program draws is let in: shapes, texts, and pictures within the file.
"""

import re
from pathlib import Path
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib.figure import Figure

from cjepa.errors import UserError
from cjepa.files import read_text, write_text
from cjepa.reporting.style import for_page, svg_file

WIDTH_INCHES = 3.6
"""Of a drawing: as wide as a phone shows without shrinking its letters."""

_PARTS = frozenset("svg defs style g path rect clipPath use image text tspan title".split())
_STYLE = "*{stroke-linejoin: round; stroke-linecap: butt}"
_WITHIN = re.compile(r"#[\w-]+|data:image/png;base64,[\w+/=\s]+")
_ELSEWHERE = re.compile(r"url\((?!#)|@import|expression\(|javascript:", re.IGNORECASE)


def write_drawing(path: Path, figure: Figure) -> None:
    """Write ``path``, an SVG file."""
    write_text(path, svg_file(figure))


def read_drawing(path: Path) -> Markup:
    """A file of :func:`write_drawing` as part of a page.

    Raises:
        UserError: missing, or not a drawing that may stand in a page.
    """
    text = read_text(path)
    if (reason := _strange(text)) is not None:
        raise UserError(f"{path}: {reason}, which drawings of a run do not have; remove the file or evaluate again")
    return Markup(for_page(text))


def _strange(text: str) -> str | None:
    """What is in an SVG that no drawing of ours has; None for nothing."""
    if not text.startswith("<svg") or "<!" in text or "<?" in text:  # comments and entities are read in several ways
        return "is not SVG alone"
    try:
        parts = list(ElementTree.fromstring(text).iter())
    except ElementTree.ParseError as error:
        return f"is not XML ({error})"
    for part in parts:
        name = part.tag.rpartition("}")[2]
        if name not in _PARTS or (name == "style" and part.text != _STYLE):
            return f"has <{name}>"
        for attribute, value in part.attrib.items():
            called = attribute.rpartition("}")[2].lower()
            linked = called == "href" and not _WITHIN.fullmatch(value)
            if called.startswith("on") or linked or (called != "href" and _ELSEWHERE.search(value)):
                return f"has {called}={value[:40]!r}"
    return None
