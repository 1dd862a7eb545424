"""Contact sheets with the names of their rows and columns, legends, and one colour for one body."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.optimize import linear_sum_assignment

from cjepa.reporting.videos import GAP, INK, SLOT_COLOURS, caption

GROUP_GAP = 18
"""Pixels between parts of a sheet that belong to different episodes."""

_FONT = ImageFont.load_default(13)
_LINE = 18
_SWATCH = 12
_LEAST_LEFT = 100  # pixels for row labels: parts of one sheet are in line although some labels are longer
_WHITE = 255
_COVERED = 0.5  # of a pixel that tells a body's colour

Image8 = np.ndarray
"""uint8 (Y, X, 3)."""


def body_colours(frames_TYXC: np.ndarray, masks_TSYX: np.ndarray) -> np.ndarray:
    """For every mask the colour of the palette that is most like what it covers, uint8 (S, 3).

    Up to twelve masks have different colours. Colours are compared by how they differ from the background, the
    median of all pixels: a body keeps its colour where its edge is mixed with the background.

    Args:
        frames_TYXC: uint8.
        masks_TSYX: in [0, 1].
    """
    slots = masks_TSYX.shape[1]
    background_C = np.median(frames_TYXC.reshape(-1, 3), axis=0)
    covered_TSYX = np.asarray(masks_TSYX) > _COVERED
    counts_S = covered_TSYX.sum(axis=(0, 2, 3))
    sums_SC = np.zeros((slots, 3))
    for covered_SYX, frame_YXC in zip(covered_TSYX, frames_TYXC, strict=True):  # many masks as floats take gigabytes
        sums_SC += np.einsum("syx,yxc->sc", covered_SYX.astype(np.float32), frame_YXC.astype(np.float32))
    means_SC = sums_SC / np.maximum(counts_S, 1)[:, None]
    palette = np.tile(SLOT_COLOURS, (-(-slots // len(SLOT_COLOURS)), 1))
    likeness = _directions(means_SC - background_C) @ _directions(palette - background_C).T
    likeness[counts_S == 0] = 0.0  # an empty mask takes what the others leave
    return palette[linear_sum_assignment(-likeness)[1]]


def labelled_grid(rows: Sequence[Sequence[Image8]], row_labels: Sequence[str], column_labels: Sequence[str]) -> Image8:
    """Pictures of one size in rows and columns with gaps, row labels on the left, column labels above.

    Args:
        rows: uint8 (Y, X, 3) each.
        row_labels: one per row, may have several lines.
        column_labels: one per column; too long ones are cut to the width of a picture.
    """
    height, width = rows[0][0].shape[:2]
    left = max(_LEAST_LEFT, *(_text_width(label) + 2 * GAP for label in row_labels))
    top = caption("", width).shape[0]
    lines = max(label.count("\n") for label in row_labels) + 1
    pitch = max(height, lines * _LINE) + GAP  # small pictures leave room for their labels
    size = (left + len(column_labels) * (width + GAP) - GAP, top + len(rows) * pitch - GAP)
    sheet = Image.new("RGB", size, (_WHITE,) * 3)
    for column, label in enumerate(column_labels):
        sheet.paste(Image.fromarray(caption(label, width)), (left + column * (width + GAP), 0))
    draw = ImageDraw.Draw(sheet)
    for number, (row, label) in enumerate(zip(rows, row_labels, strict=True)):
        y = top + number * pitch
        draw.multiline_text((GAP, y), label, fill=INK, font=_FONT, spacing=4)
        for column, picture in enumerate(row):
            sheet.paste(Image.fromarray(np.asarray(picture, np.uint8)), (left + column * (width + GAP), y))
    return np.asarray(sheet)


def legend(colours: Mapping[str, Sequence[int]], width: int) -> Image8:
    """A square of its colour before every name, in as many lines as a width in pixels needs."""
    places, x, y = [], GAP, 0
    for name in colours:
        wide = _SWATCH + 5 + _text_width(name) + 14
        if x > GAP and x + wide > width:
            x, y = GAP, y + _LINE
        places.append((x, y))
        x += wide
    image = Image.new("RGB", (width, y + _LINE + GAP), (_WHITE,) * 3)
    draw = ImageDraw.Draw(image)
    for (x, y), (name, colour) in zip(places, colours.items(), strict=True):
        square = (x, y + GAP, x + _SWATCH - 1, y + GAP + _SWATCH - 1)
        draw.rectangle(square, fill=tuple(map(int, colour)))
        draw.text((x + _SWATCH + 5, y + GAP + _SWATCH / 2), name, fill=INK, font=_FONT, anchor="lm")
    return np.asarray(image)


def stacked(images: Sequence[Image8], gap: int = GROUP_GAP) -> Image8:
    """Pictures of any size below each other, on white."""
    width = max(image.shape[1] for image in images)
    parts = []
    for number, image in enumerate(images):
        above = gap if number else 0
        room = ((above, 0), (0, width - image.shape[1]), (0, 0))
        parts.append(np.pad(image, room, constant_values=_WHITE))
    return np.concatenate(parts)


def beside(images: Sequence[Image8]) -> Image8:
    """Pictures of any size next to each other, on white."""
    return stacked([image.swapaxes(0, 1) for image in images]).swapaxes(0, 1)


def with_legend(frames_TYXC: np.ndarray, colours: Mapping[str, Sequence[int]]) -> np.ndarray:
    """Every frame with the legend below it, uint8 (T, Y', X, 3)."""
    if not colours:
        return frames_TYXC
    strip = legend(colours, frames_TYXC.shape[2])
    strip = np.pad(strip, ((0, strip.shape[0] % 2), (0, 0), (0, 0)), constant_values=_WHITE)  # videos are of even size
    return np.concatenate([frames_TYXC, np.broadcast_to(strip, (len(frames_TYXC), *strip.shape))], axis=1)


def _directions(vectors_SC: np.ndarray) -> np.ndarray:
    return vectors_SC / np.maximum(np.linalg.norm(vectors_SC, axis=1, keepdims=True), 1e-6)


def _text_width(text: str) -> int:
    return int(max(_FONT.getlength(line) for line in text.split("\n"))) + 1
