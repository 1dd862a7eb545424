"""Columns of Arrow tables as arrays."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cjepa.data.converters.tables import images, label_pictures, numbers
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


def png(picture: Image.Image, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", **options)
    return out.getvalue()


RGB = Image.fromarray(np.array([[[10, 20, 30], [250, 0, 7]]], np.uint8))
GREY = Image.fromarray(np.array([[3, 200]], np.uint8))


def test_colours_stay_what_they_are():
    opaque = RGB.copy()
    opaque.putalpha(255)
    few = RGB.quantize(2)  # a palette that holds both colours
    for picture in (RGB, opaque, few):
        assert images("here", [png(picture)], 0).tolist() == [[[[10, 20, 30], [250, 0, 7]]]]
    assert images("here", [png(GREY)], 0).tolist() == [[[[3, 3, 3], [200, 200, 200]]]]


def test_label_images():
    """A palette says how labels look, not what they are."""
    grey = Image.fromarray(np.array([[0, 23]], np.uint8))
    palette = grey.copy()
    palette.putpalette([200, 100, 0] * 256)
    for picture in (grey, palette, Image.fromarray(np.array([[0, 23]], np.uint16))):
        assert label_pictures("here", [png(picture)] * 2, 0).tolist() == [[[0, 23]]] * 2
    assert label_pictures("here", [png(grey)], 2).tolist() == [[[0, 23], [0, 23]]]


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_pictures_that_are_no_label_images_are_refused(format):
    out = io.BytesIO()
    (RGB if format == "PNG" else GREY).save(out, format)
    with pytest.raises(UserError, match=f"here, row 0: a {format} picture of mode .*, expected a label image"):
        label_pictures("here", [out.getvalue()], 0)


def transparent(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.putalpha(Image.fromarray(np.array([[255, 128]], np.uint8)))
    return picture


@pytest.mark.parametrize(
    ("blob", "told"),
    [
        (png(Image.fromarray(np.array([[400, 3000]], np.uint16))), "mode I;16, expected RGB colours or grey values"),
        (png(transparent(RGB)), "partly transparent"),
        (png(transparent(GREY)), "partly transparent"),
        (png(RGB.quantize(2), transparency=0), "partly transparent"),
        (b"", "not a picture"),
    ],
)
def test_pictures_that_hold_more_than_colours_are_refused(blob, told):
    with pytest.raises(UserError, match=f"here, row 1: .*{told}"):
        images("here", [png(RGB), blob], 0)


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_a_declared_size_that_fills_memory_is_refused_without_decoding(side):
    """PIL only warns of the first, and refuses the second."""
    small, header = png(GREY), 12  # signature and length stand before the header
    declared = b"IHDR" + struct.pack(">II", side, side) + small[header + 12 : header + 17]
    blob = small[:header] + declared + struct.pack(">I", zlib.crc32(declared)) + small[header + 21 :]
    with pytest.raises(UserError, match="here, row 0: a picture of more than 89,478,485 pixels"):
        images("here", [blob], 8)


def test_a_format_that_needs_another_program_is_not_opened():
    out = io.BytesIO()
    RGB.save(out, "EPS")
    with pytest.raises(UserError, match="here, row 0: not a picture"):
        images("here", [out.getvalue()], 0)


def test_float_pictures_are_refused():
    out = io.BytesIO()
    Image.fromarray(np.array([[0.5, 2.5]], np.float32)).save(out, "TIFF")
    with pytest.raises(UserError, match="here, row 0: a picture of mode F"):
        images("here", [out.getvalue()], 0)
