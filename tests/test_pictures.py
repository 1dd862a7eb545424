"""Picture files from outside: colours stay what they are, measurements are refused."""

import numpy as np
import pytest
from PIL import Image

from cjepa.errors import UserError
from cjepa.pictures import read_picture

GREY = np.array([[3, 200]], np.uint8)


def test_grey_values_are_colours(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    assert read_picture(tmp_path / "grey.png").tolist() == [[[3, 3, 3], [200, 200, 200]]]


@pytest.mark.parametrize(
    ("picture", "name", "told"),
    [
        (Image.fromarray(GREY.astype(np.uint16) * 257), "depth.png", "a picture of mode I;16, expected RGB colours"),
        (Image.fromarray(GREY.astype(np.float32)), "depth.tiff", "a picture of mode F, expected RGB colours"),
        (Image.fromarray(GREY).convert("CMYK"), "print.jpg", "a picture of mode CMYK, expected RGB colours"),
        (Image.merge("LA", [Image.fromarray(GREY)] * 2), "cut_out.png", "partly transparent"),
    ],
    ids=["16 bits", "floats", "CMYK", "transparent"],
)
def test_more_than_colours_is_refused(picture, name, told, tmp_path):
    """As 8-bit RGB, depth of 16 bits would be white everywhere."""
    picture.save(tmp_path / name)
    with pytest.raises(UserError, match=f"{name}: .*{told}"):
        read_picture(tmp_path / name)
