"""Panels of episodes side by side, as a contact sheet and as a video."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cjepa.data.store.episodes import Episodes
from cjepa.reporting.sheets import body_colours, labelled_grid, legend, stacked, with_legend
from cjepa.reporting.videos import GAP, contact_sheet, overlay_masks, side_by_side, write_png, write_video

_FRAMES_A_ROW = 8
_TILE_PIXELS = 128
_SLOW_FPS = 10
_OPACITY = 0.8

Video = np.ndarray
"""uint8 (T, Y, X, 3)."""


class Shown(NamedTuple):
    """What is shown of one episode."""

    panels: dict[str, Video]
    colours: dict[str, tuple[int, ...]]
    """Of the bodies or slots in the panels."""


def with_masks(panels: dict[str, Video], title: str, masks_TSYX: np.ndarray, names: list[str]) -> Shown:
    """One more panel, the first one under its masks."""
    frames = next(iter(panels.values()))
    colours_SC = body_colours(frames, masks_TSYX)
    masks = {title: overlay_masks(frames, masks_TSYX, _OPACITY, colours_SC)}
    is_there = masks_TSYX.any(axis=(0, 2, 3))
    colours = {name: tuple(map(int, c)) for name, c, seen in zip(names, colours_SC, is_there, strict=True) if seen}
    return Shown(panels | masks, colours)


def write_panels(out: Path, data: Episodes, picks: np.ndarray, shown: list[Shown]) -> list[Path]:
    """``sheet.png``: a few frames of every episode, panels below each other. ``episodes.mp4``: all of them at once."""
    videos = []
    for index, (panels, colours) in zip(picks, shown, strict=True):
        labels = [f"{index}: {name}" for name in panels]
        videos.append(with_legend(side_by_side(list(panels.values()), labels, _scale(panels)), colours))
    columns = max(1, round((len(videos) / len(shown[0].panels)) ** 0.5))
    sheet = write_png(out / "sheet.png", _sheet(picks, shown))
    return [sheet, write_video(out / "episodes.mp4", on_one_canvas(videos, columns), fps_of(data))]


def _sheet(picks: np.ndarray, shown: list[Shown]) -> np.ndarray:
    """One legend for all episodes, or one each where bodies differ from episode to episode."""
    differ = any(episode.colours != shown[0].colours for episode in shown)
    parts = [_sheet_rows(index, episode, differ) for index, episode in zip(picks, shown, strict=True)]
    sheet = stacked(parts)
    return sheet if differ or not shown[0].colours else stacked([sheet, legend(shown[0].colours, sheet.shape[1])])


def _sheet_rows(index: int, shown: Shown, has_legend: bool) -> np.ndarray:
    steps, scale = min(map(len, shown.panels.values())), _scale(shown.panels)
    times = np.linspace(0, steps - 1, _FRAMES_A_ROW).round().astype(int)
    rows = [panel[times].repeat(scale, axis=1).repeat(scale, axis=2) for panel in shown.panels.values()]
    names = [f"episode {index}\n{name}" if row == 0 else name for row, name in enumerate(shown.panels)]
    grid = labelled_grid(rows, names, [f"env step {t}" for t in times])
    return stacked([grid, legend(shown.colours, grid.shape[1])], GAP) if has_legend and shown.colours else grid


def _scale(panels: dict[str, Video]) -> int:
    return max(1, _TILE_PIXELS // next(iter(panels.values())).shape[2])


def on_one_canvas(videos: list[Video], columns: int) -> Video:
    """All videos at once on one canvas; the shorter ones hold their last frame."""
    steps = max(map(len, videos))
    held = [video[np.minimum(np.arange(steps), len(video) - 1)] for video in _same_size(videos)]
    return np.stack([contact_sheet(frames, columns) for frames in zip(*held, strict=True)])


def _same_size(videos: list[Video]) -> list[Video]:
    """With white below and on the right: legends have more or fewer lines."""
    height, width = (max(video.shape[axis] for video in videos) for axis in (1, 2))
    rooms = [((0, 0), (0, height - v.shape[1]), (0, width - v.shape[2]), (0, 0)) for v in videos]
    return [np.pad(video, room, constant_values=255) for video, room in zip(videos, rooms, strict=True)]


def fps_of(data: Episodes) -> float:
    """Frames per second of a video of every env step."""
    return float(data.attributes.get("env_steps_per_second", _SLOW_FPS))
