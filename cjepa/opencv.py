"""``cv2``, imported when the first frame is drawn or resized: ``from cjepa import opencv as cv2``.

OpenCV needs system libraries that slim containers lack. Commands that draw nothing work without them.
"""

from types import ModuleType
from typing import Any

from cjepa.errors import UserError


def require() -> ModuleType:
    """The module ``cv2``.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            f"OpenCV draws and resizes frames, and cannot be imported ({error}); install the system packages libgl1 "
            f"and libglib2.0-0, or: pip uninstall opencv-python && pip install --force-reinstall opencv-python-headless"
        ) from error
    return cv2


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what Python asks of every module
        raise AttributeError(name)
    globals()[name] = value = getattr(require(), name)  # the next look-up does not come here
    return value
