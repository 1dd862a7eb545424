"""What a LeRobot dataset says of itself in ``meta/``: checked before anything is read or built from it."""

import math
import re
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cjepa.configuration.plain_values import check_mapping
from cjepa.errors import UserError
from cjepa.files import read_json

_PLACES = {"data_path": {"episode_chunk", "episode_index", "chunk_index", "file_index"}}
_PLACES["video_path"] = _PLACES["data_path"] | {"video_key"}
_MOST = 10**9
"""Above any number of episodes, rows or files."""
_LONGEST_TEMPLATE = 500
_MOST_OFF_RATE = 0.05
"""Share by which a video's mean frame rate may differ: a joint of two files can be longer than a frame."""
_MOST_OFF_FRAME = 0.25
"""Frames by which a time stamp may miss a frame's own time: sums of rounded durations drift."""


class Record(NamedTuple):
    """Where one episode is."""

    index: int
    length: int
    table: Path
    video: Path | None
    first_frame: int | None
    """In the video; None when that holds this episode alone."""


class Info(NamedTuple):
    """``meta/info.json``, as far as it is used."""

    path: Path
    version: str
    fps: float
    total_frames: int
    chunks_size: int
    dtypes: dict[str, str]
    """Of each feature, by its name."""
    depth_cameras: list[str]
    """Features that are videos of distances."""
    templates: dict[str, str]
    """``data_path`` and, where there are videos, ``video_path``."""

    def place(self, template: str, **values: Any) -> Path:
        """A file of the dataset, from one of the templates.

        Raises:
            UserError: the template needs other values, or points outside the data set.
        """
        try:
            path = Path(self.templates[template].format(**values))
        except KeyError as error:
            raise UserError(f"{self.path}: {template} needs {error}, which this version does not have") from None
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{self.path}: {template} points outside the data set ({path})")
        return self.path.parent.parent / path


def read_info(path: Path) -> Info:
    """Read and check ``meta/info.json``.

    Raises:
        UserError: there is no such file, or a value in it is missing or makes no sense; the key is named.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder of a LeRobot dataset, which contains meta/")
    info = check_mapping(str(path), read_json(path), {})
    version = str(info.get("codebase_version"))
    if not version.startswith(("v2.", "v3.")):
        raise UserError(
            f"{path}: codebase_version is {version}, expected v2.x or v3.x; convert older data sets with LeRobot"
        )
    features = info.get("features")
    if not isinstance(features, dict) or not all(isinstance(value, dict) for value in features.values()):
        raise UserError(f"{path}: features: expected names with a dtype each")
    templates = {name: info[name] for name in _PLACES if info.get(name) is not None}
    for name, template in templates.items():
        _check_template(f"{path}: {name}", template, _PLACES[name])
    if "data_path" not in templates:
        raise UserError(f"{path}: no data_path; not a LeRobot file")
    return Info(
        path,
        version,
        _number(path, info, "fps"),
        whole(path, "total_frames", info.get("total_frames"), 0),
        whole(path, "chunks_size", info.get("chunks_size"), 1),
        {name: str(feature.get("dtype")) for name, feature in features.items()},
        [name for name, feature in features.items() if _is_depth(feature)],
        templates,
    )


def whole(where: Path | str, key: str, value: Any, least: int) -> int:
    """``value``, if it is a whole number from ``least`` to a billion; a UserError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST:
        raise UserError(f"{where}: {key} is {str(value)[:40]}, expected an integer of at least {least}")
    return value


def stretch(where: str, start: Any, end: Any, fps: float) -> tuple[int, int]:
    """First frame and number of frames between two time stamps of a video in seconds.

    Raises:
        UserError: the stamps are no numbers, do not follow each other, or the first lies between two frames.
    """
    stamps = (start, end)
    if not all(isinstance(stamp, int | float) and math.isfinite(stamp) for stamp in stamps) or not 0 <= start < end:
        raise UserError(f"{where}: from_timestamp {start} and to_timestamp {end}: expected 0 <= from < to")
    first = round(start * fps)
    if abs(start * fps - first) > _MOST_OFF_FRAME:
        raise UserError(f"{where}: from_timestamp {start} lies between two frames of a video of {fps:g} per second")
    return first, round(end * fps) - first


def check_stretches(records: Iterable[Record]) -> None:
    """Refuse two episodes that share frames of a video, as after a merge that went wrong."""
    parts = sorted((record.video, record.first_frame, record) for record in records if record.first_frame is not None)
    for (video, _, one), (other_video, start, other) in zip(parts, parts[1:], strict=False):
        if video == other_video and start < one.first_frame + one.length:
            raise UserError(
                f"{video}: episodes {one.index} and {other.index} share frames (both have frame {start}); "
                "meta/episodes and the videos disagree, as after a merge that went wrong"
            )


def check_frame_rate(video: Path, found: float, expected: float) -> None:
    """Refuse a video of another frame rate (per second, 0 if unknown): time stamps would point at other frames."""
    if found and abs(found - expected) > _MOST_OFF_RATE * expected:
        raise UserError(
            f"{video}: {found:g} frames per second, but info.json states fps {expected:g}; time stamps of episodes "
            "would point at other frames"
        )


def check_row_order(where: str, name: str, frames_T: np.ndarray) -> None:
    """Refuse rows that belong to other frames of the episode than their number says.

    Args:
        where: the episode, for the error.
        name: of the column that says so.
        frames_T: the frame of each row, counted from the episode's start.
    """
    off = ~(np.abs(frames_T - np.arange(len(frames_T))) < 0.5)  # NaN too
    if off.any():
        row = int(np.argmax(off))
        raise UserError(
            f"{where}, row {row}: {name} points at frame {frames_T[row]:g} of the episode, expected frame {row}; rows "
            "are missing or out of order"
        )


def _is_depth(feature: dict[str, Any]) -> bool:
    about = feature.get("info") or feature.get("video_info")
    return isinstance(about, dict) and about.get("video.is_depth_map") is True


def _number(path: Path, info: dict[str, Any], key: str) -> float:
    value = info.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MOST:
        raise UserError(f"{path}: {key} is {str(value)[:40]}, expected a number above 0")
    return float(value)


def _check_template(where: str, template: Any, places: set[str]) -> None:
    """Only names in braces, with numbers filled up with zeros as in ``{episode_index:06d}``.

    Python's own formats could ask for a text of gigabytes, or for attributes of the values.
    """
    try:
        fields = list(string.Formatter().parse(template)) if len(template) <= _LONGEST_TEMPLATE else None
    except (ValueError, TypeError):
        fields = None
    known = fields is not None and all(
        name is None
        or (name in places and not conversion and re.fullmatch("" if name == "video_key" else r"(0?\dd?)?", spec))
        for _, name, spec, conversion in fields
    )
    if not known:
        names = ", ".join(sorted(places))
        raise UserError(f"{where}: {str(template)[:80]!r} is not a LeRobot path template, with {names} in braces")
