"""How arrays of other projects become columns of ours: one dtype and one form for each column with a meaning."""

import numpy as np

from cjepa import opencv as cv2
from cjepa.data.store.episodes import COLUMN_DTYPES, Episode
from cjepa.errors import UserError

_FORMS = {
    "action": ("values",),
    "proprio": ("values",),
    "state": ("values",),
    "contacts": ("bodies", "bodies"),
    "objects": ("bodies", "attributes"),
    "tokens": ("slots", "values"),
}
"""What the axes of one row are."""
_ONE_NUMBER = ("reward", "terminated")
"""Columns of one number a row; some formats know only lists, and keep lists of one."""


def plain_column(where: str, name: str, values: np.ndarray, placeholder: int | None) -> np.ndarray:
    """A column as our files store it.

    Args:
        where: for messages.
        name: of the column.
        values: one row a step.
        placeholder: a row that may hold NaN for "none", stored as 0; None if there is no such row.

    Raises:
        UserError: the values cannot be stored without losing something.
    """
    if "/" in name:
        raise UserError(f"{where}: a column's name cannot contain '/'; rename it in the source")
    if values.dtype.kind not in "biuf":
        raise UserError(f"{where}: {values.dtype} cannot be stored; expected numbers")
    if name == "pixels" and (values.dtype != np.uint8 or values.ndim != 4 or values.shape[-1] != 3):
        expected = "expected uint8 (frames, Y, X, 3); make 8-bit RGB frames in the source, or rename this column"
        raise UserError(f"{where}: {values.dtype} {values.shape}, {expected}")
    if name == "masks":
        return label_images(where, values)
    if name in _ONE_NUMBER and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if name in _FORMS:
        values = _in_form(where, values, _FORMS[name])
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if values.dtype.kind == "f":
        values = _finite(where, values, placeholder)
        if values.dtype.itemsize > 4:
            with np.errstate(over="ignore"):
                values = _finite(where, values.astype(np.float32), None)
    return np.ascontiguousarray(_as_declared(where, values, COLUMN_DTYPES.get(name, ())))


def label_images(where: str, values: np.ndarray) -> np.ndarray:
    """Label images as uint8 (T, Y, X), 0 for the background.

    Args:
        where: for messages.
        values: (T, Y, X), or with an axis of one channel behind or before Y and X; whole numbers of any type.

    Raises:
        UserError: another shape, or values that are no labels of 0 to 255.
    """
    shape = values.shape
    if values.ndim == 4 and 1 in (shape[-1], shape[1]):
        values = values[..., 0] if shape[-1] == 1 else values[:, 0]
    if values.ndim != 3:
        raise UserError(
            f"{where}: label images of shape {shape[1:]}, expected (Y, X) with one label per pixel and 0 for the "
            "background; merge masks of single objects, or remove this column, in the source"
        )
    return np.ascontiguousarray(_as_declared(where, values, COLUMN_DTYPES["masks"]))


def check_sizes(where: str, episode: Episode) -> None:
    """Check that label images lie on the frames.

    Raises:
        UserError: they have another size.
    """
    if "masks" in episode and "pixels" in episode:
        labels, frames = episode["masks"].shape[1:], episode["pixels"].shape[1:3]
        if labels != frames:
            raise UserError(f"{where}: masks are {labels}, pixels {frames}; give --image_size, or resize the source")


def resize_images(name: str, values: np.ndarray, image_size: int) -> np.ndarray:
    """Square images of that size: uint8 (T, Y, X, 3) as means over areas, label images by nearest pixel.

    Other columns, and all when ``image_size`` is 0, are left as they are.
    """
    labels = name == "masks" and values.ndim == 3
    pictures = values.dtype == np.uint8 and values.ndim == 4 and values.shape[-1] == 3
    if not image_size or not (labels or pictures) or values.shape[1:3] == (image_size, image_size):
        return values
    method = cv2.INTER_NEAREST if labels else cv2.INTER_AREA
    return np.stack([cv2.resize(image, (image_size, image_size), interpolation=method) for image in values])


def _in_form(where: str, values: np.ndarray, axes: tuple[str, ...]) -> np.ndarray:
    """A column of vectors may be of plain numbers: each is then a vector of one."""
    if values.ndim == 1 and len(axes) == 1:
        return values[:, None]
    if values.ndim != 1 + len(axes):
        raise UserError(
            f"{where}: rows of shape {values.shape[1:]}, expected ({', '.join(axes)}); fix or rename this column in "
            "the source"
        )
    return values


def _as_declared(where: str, values: np.ndarray, dtypes: tuple[str, ...]) -> np.ndarray:
    """``values`` in one of these dtypes (any, if there are none), the last of which takes what is of another one."""
    if not dtypes or values.dtype.name in dtypes:
        return values
    with np.errstate(invalid="ignore"):
        cast = values.astype(dtypes[-1])
    wrong = values[cast.astype(values.dtype) != values]
    if wrong.size:
        raise UserError(f"{where}: {wrong.flat[0]} cannot be stored as {dtypes[-1]}, which this column is made of")
    return cast


def _finite(where: str, values: np.ndarray, placeholder: int | None) -> np.ndarray:
    finite_T = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if placeholder is not None and not finite_T[placeholder]:
        values = values.copy()
        values[placeholder] = 0
        finite_T[placeholder] = True
    if not finite_T.all():
        raise UserError(f"{where}, row {int(np.argmin(finite_T))}: not a finite number; fix or remove this episode")
    return values
