"""Which pictures and videos a page holds: the most telling of every stage first, as many as a page can carry."""

import base64
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from cjepa.reporting.drawings import read_drawing
from cjepa.reporting.videos import video_size

MEDIA_BYTES = 7_000_000
"""Of all pictures and videos in a page, as text; with figures and tables it stays under 10 MB."""
MEDIA_A_STAGE = 12
"""Pictures, and videos, of one stage."""

_TYPES = {".png": "image/png", ".mp4": "video/mp4"}
_DRAWING = ".svg"


class Media(NamedTuple):
    """A picture or a video as a data address."""

    caption: str
    address: str
    size: tuple[int, int]
    """Width and height of a video, in pixels; of a picture (0, 0): browsers know."""


class Drawing(NamedTuple):
    """A figure that is part of the page."""

    caption: str
    svg: Markup


class StageMedia(NamedTuple):
    """What a page holds of one stage's folder ``media``."""

    drawings: list[Drawing]
    images: list[Media]
    videos: list[Media]
    left_out: list[str]
    """Names of the files that it does not hold."""


def embedded(folders: Sequence[Path], most_bytes: int = MEDIA_BYTES) -> list[StageMedia]:
    """Drawings, pictures and videos for a page, of the folders of its stages.

    First the first picture, the first success and the first failure of every stage, then the second ones, and so on.
    What is larger than the room that is left stays out; smaller ones may still follow.

    Args:
        folders: of the stages.
        most_bytes: of all together, as text.

    Raises:
        UserError: a drawing is none that may stand in a page.
    """
    files = [_files(folder / "media") for folder in folders]
    room, chosen = most_bytes, set()
    for turn in itertools.zip_longest(*map(_most_telling, files)):
        for path in filter(None, turn):
            size = path.stat().st_size * (1 if path.suffix == _DRAWING else 4 / 3)
            if size <= room:
                room -= size
                chosen.add(path)
    return [_stage(found, chosen) for found in files]


def _files(media: Path) -> list[Path]:
    return [path for ending in (_DRAWING, *_TYPES) for path in sorted(media.glob(f"*{ending}"))]


def _most_telling(files: list[Path]) -> list[Path]:
    """A picture, a success and a failure, then the others in turns; at most ``MEDIA_A_STAGE`` pictures and videos."""
    pictures = [path for path in files if path.suffix in (_DRAWING, ".png")][:MEDIA_A_STAGE]
    videos = [path for path in files if path.suffix == ".mp4"]
    ends = {end: [path for path in videos if path.stem.endswith(end)] for end in ("success", "failure")}
    others = [path for path in videos if path not in [*ends["success"], *ends["failure"]]]
    turns = [path for turn in itertools.zip_longest(*ends.values(), others) for path in turn if path is not None]
    later = itertools.zip_longest(pictures[1:], turns[2:MEDIA_A_STAGE])
    return [*pictures[:1], *turns[:2], *(path for pair in later for path in pair if path is not None)]


def _stage(files: list[Path], chosen: set[Path]) -> StageMedia:
    held = [path for path in files if path in chosen]
    drawings = [Drawing(_caption(path), read_drawing(path)) for path in held if path.suffix == _DRAWING]
    images, videos = ([_media(path) for path in held if path.suffix == ending] for ending in _TYPES)
    return StageMedia(drawings, images, videos, [path.name for path in files if path not in chosen])


def _media(path: Path) -> Media:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    size = video_size(path) if path.suffix == ".mp4" else (0, 0)
    return Media(_caption(path), f"data:{_TYPES[path.suffix]};base64,{content}", size)


def _caption(path: Path) -> str:
    """``trial00-failure`` is "trial 00: failure"."""
    return re.sub(r"(?<=[a-z])(?=\d)", " ", path.stem.replace("_", " ").replace("-", ": "))
