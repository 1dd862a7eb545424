"""Picture files of unknown origin, opened with bounds: a few bytes may declare a size that fills all memory."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from cjepa.errors import UserError

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Others need another program (EPS), or are not pictures of one size."""
_COLOURS = ("1", "L", "P", "RGB", "YCbCr")
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")


@contextmanager
def open_picture(where: str, file: str | Path | BinaryIO) -> Iterator[Image.Image]:
    """The first picture of a file; what the block does with it is covered too.

    Args:
        where: the file, for the error.
        file: a path, or an open file.

    Raises:
        UserError: of another format, incomplete or damaged, or of more pixels than PIL takes without a warning (89
            million).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(file, formats=_FORMATS)
        with picture:
            yield picture
    except UserError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UserError(f"{where}: a picture of more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except (OSError, ValueError, TypeError, SyntaxError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where}: not a picture, incomplete or damaged ({reason})") from None


def read_picture(path: Path) -> np.ndarray:
    """A picture file, uint8 ``(Y, X, 3)``.

    Raises:
        UserError: there is no such file, or as :func:`open_picture` and :func:`colours`.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a picture file")
    with open_picture(str(path), path) as picture:
        return colours(str(path), picture)


def colours(where: str, picture: Image.Image, advice: str = "give another picture") -> np.ndarray:
    """uint8 ``(Y, X, 3)``, of a picture from which nothing is lost that way.

    Grey values and palettes are colours. Depth in 16 bits or floats is not, nor is what shines through.

    Args:
        where: the picture, for the error.
        picture: of any mode.
        advice: what to do about a picture that holds measurements, for the error.

    Raises:
        UserError: the picture holds more than colours of 8 bits.
    """
    if picture.mode in _TRANSPARENT or "transparency" in picture.info:
        alpha = picture.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            raise UserError(f"{where}: a picture that is partly transparent; draw it on a background first")
        picture = picture.convert("RGBA")
    elif picture.mode not in _COLOURS:
        raise UserError(
            f"{where}: a picture of mode {picture.mode}, expected RGB colours or grey values of 8 bits; depth and "
            f"other measurements cannot become pixels; {advice}"
        )
    return np.asarray(picture.convert("RGB"))
