"""Arrow tables (Parquet files, Lance datasets) read piece by piece, and their columns as arrays."""

import importlib
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cjepa.data.converters.columns import resize_images
from cjepa.errors import UserError
from cjepa.pictures import colours, open_picture

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 256
_LABELS = ("1", "L", "P", "I", "I;16")


@contextmanager
def clear_errors(path: Path, kind: str) -> Iterator[None]:
    """Turns what the libraries say about damage into a UserError."""
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        # Lance is written in Rust: a panic there is no Exception here.
        if not isinstance(error, OSError | ValueError | RuntimeError) and type(error).__name__ != "PanicException":
            raise
        raise UserError(f"{path}: not a readable {kind}, or damaged ({error})") from None


class RowReader:
    """Rows of Arrow batches from front to back, as many at a time as asked for.

    Args:
        where: for messages.
        batches: in order.
    """

    def __init__(self, where: str, batches: Iterable["pa.RecordBatch"]):
        self.where = where
        self._batches: Iterator[pa.RecordBatch] = iter(batches)
        self._rest: list[pa.RecordBatch] = []

    def read(self, count: int) -> "pa.Table":
        """The next ``count`` rows.

        Raises:
            UserError: there are fewer.
        """
        pa = importlib.import_module("pyarrow")
        taken, wanted = [], count
        while wanted:
            batch = self._rest.pop() if self._rest else next(self._batches, None)
            if batch is None:
                raise UserError(f"{self.where}: ends too early, expected {wanted} more rows")
            taken.append(batch.slice(0, wanted))
            if len(batch) > wanted:
                self._rest.append(batch.slice(wanted))
            wanted -= len(taken[-1])
        return pa.Table.from_batches(taken)


def numbers(where: str, column: "pa.Array | pa.ChunkedArray") -> np.ndarray:
    """A column of numbers, or of lists of numbers of one length: (rows,) or (rows, ...).

    Raises:
        UserError: values are missing, the lists differ in length, or they are not numbers.
    """
    pa, compute = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.compute")
    rows = len(column)
    shape: list[int] = []
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    while (
        pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type) or pa.types.is_large_list(values.type)
    ):
        outer = len(values)
        lengths = compute.min_max(compute.list_value_length(values))
        if values.null_count or not outer or lengths["min"] != lengths["max"]:
            raise UserError(f"{where}: lists are missing or have different lengths")
        values = values.flatten()
        shape.append(len(values) // outer)
    if values.null_count:
        raise UserError(f"{where}: {values.null_count} values are missing")
    return values.to_numpy(zero_copy_only=False).reshape(rows, *shape)


def images(
    where: str, blobs: Iterable[bytes | None], image_size: int, advice: str = "remove this column in the source"
) -> np.ndarray:
    """Encoded pictures (JPEG, PNG) to uint8 (T, Y, X, 3), square if ``image_size`` is not 0.

    Args:
        where: the episode and the column, for errors.
        blobs: one picture a row.
        image_size: side of the square frames, 0 for that of the pictures.
        advice: how to go on without pictures that hold more than colours.

    Raises:
        UserError: one of them is missing, cannot be decoded, has another size than the first, or holds more than
            colours of 8 bits.
    """
    return _decoded(
        where, blobs, lambda row, picture: resize_images("pixels", colours(row, picture, advice)[None], image_size)
    )


def label_pictures(where: str, blobs: Iterable[bytes | None], image_size: int) -> np.ndarray:
    """Encoded label images to integers (T, Y, X), square if ``image_size`` is not 0.

    Grey values and numbers in a palette are labels.

    Raises:
        UserError: one of them is missing, cannot be decoded, has another size than the first, is in colours, or lost
            its labels in a JPEG.
    """
    return _decoded(where, blobs, lambda row, picture: resize_images("masks", _labels(row, picture)[None], image_size))


def _decoded(where: str, blobs: Iterable[bytes | None], decode: Callable[[str, Image.Image], np.ndarray]) -> np.ndarray:
    """One picture a row, each as ``decode`` makes it of the row's name and the picture."""
    frames: list[np.ndarray] = []
    for index, blob in enumerate(blobs):
        row = f"{where}, row {index}"
        with open_picture(row, io.BytesIO(blob or b"")) as picture:
            frames.append(decode(row, picture))
        if frames[-1].shape != frames[0].shape:
            raise UserError(f"{row}: {frames[-1].shape[1:]}, but the first row has {frames[0].shape[1:]}")
    return np.concatenate(frames)


def _labels(where: str, picture: Image.Image) -> np.ndarray:
    if picture.mode not in _LABELS or picture.format == "JPEG":
        raise UserError(
            f"{where}: a {picture.format} picture of mode {picture.mode}, expected a label image: PNG, one label per "
            "pixel as a grey value or palette entry; convert it in the source, or remove the column"
        )
    labels = np.asarray(picture)
    return labels.astype(np.uint8) if labels.dtype == bool else labels
