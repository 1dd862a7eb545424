"""Frames of other people's videos, decoded by ffmpeg one at a time."""

import logging
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np

from cjepa.errors import UserError

# Means over areas, and full chroma: ffmpeg's quick defaults are off by several grey levels at edges.
_SCALER = "area+accurate_rnd+full_chroma_int+full_chroma_inp"

# A file may call itself a video and be a playlist, which makes ffmpeg open what it names.
_MP4_ONLY = ["-f", "mov", "-protocol_whitelist", "file"]

MAX_PIXELS = 1 << 26
"""Of a frame; a few hundred bytes may declare more than fits into memory."""

_PATIENCE_SECONDS = 9.0
"""imageio-ffmpeg gives up on a process that has said nothing for ten seconds."""

logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns of every frame size that was asked for


class BadVideo(UserError):
    """A video whose frames cannot be used: of thousands of videos, some are."""


class ShortVideo(BadVideo):
    """A video ends before the frames that were asked for.

    Args:
        path: the video.
        frames: how many it has.
        missing: how many more were expected.
    """

    def __init__(self, path: Path, frames: int, missing: int):
        self.frames = frames
        super().__init__(f"{path}: ends after {frames} frames, expected {missing} more")


class VideoReader:
    """One video from front to back; holds no more than what was asked for.

    Args:
        path: an ``.mp4`` file.
        image_size: side of the square frames to make, 0 for the video's own size.

    Raises:
        BadVideo: not an mp4 video, or damaged.
        UserError: no such file, or larger than memory can hold.
    """

    def __init__(self, path: Path, image_size: int):
        if not path.is_file():
            raise UserError(f"{path}: no such video")
        self.path = path
        self._frames, about = self._start(f"{image_size}:{image_size}" if image_size else "iw:ih")
        self.fps: float = about["fps"]
        """As the file states it, 0 if unknown."""
        width, height = about["size"]
        self.shape = (height, width, 3)
        self.position = 0
        """Frames that were read or passed over."""

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Stop ffmpeg."""
        self._frames.close()

    def read(self, count: int) -> np.ndarray:
        """The next ``count`` frames, uint8 (count, Y, X, 3).

        Raises:
            ShortVideo: there are fewer.
            BadVideo: they are damaged.
            UserError: they are more than memory can hold.
        """
        try:
            frames = np.empty((count, *self.shape), np.uint8)
        except (MemoryError, ValueError):
            raise UserError(f"{self.path}: {count} frames of {self.shape[:2]} do not fit into memory") from None
        for index in range(count):
            frames[index] = np.frombuffer(self._next(count - index), np.uint8).reshape(self.shape)
        return frames

    def skip_to(self, frame: int) -> None:
        """Pass over frames until ``frame`` is the next one."""
        while self.position < frame:
            self._next(frame - self.position)

    def at_end(self) -> bool:
        """Whether no frame is left; if there is one, it is lost."""
        return next(self._frames, None) is None

    def _start(self, size: str, starts: int = 6) -> tuple[Generator, dict[str, Any]]:
        """Frames to come, and what ffmpeg says of the video; tries again where ffmpeg was kept waiting."""
        # One frame out for one frame in, whatever the time stamps say.
        options = ["-fps_mode", "passthrough", "-vf", f"scale={size}:flags={_SCALER},format=rgb24"]
        path = str(self.path.absolute())
        frames = imageio_ffmpeg.read_frames(
            path, input_params=[*_MP4_ONLY, "-max_pixels", str(MAX_PIXELS)], output_params=options
        )
        began = time.monotonic()
        try:
            return frames, next(frames)
        except (OSError, StopIteration, KeyError, IndexError) as error:
            # What is no video is refused at once; only on a machine that is too busy does it take longer.
            if time.monotonic() - began > _PATIENCE_SECONDS and starts > 1:
                return self._start(size, starts - 1)
            if "max pixel count" in str(error):
                raise UserError(f"{self.path}: its frames have more than {MAX_PIXELS:,} pixels") from None
            raise BadVideo(f"{self.path}: ffmpeg cannot read this video ({_last_line(error)})") from None

    def _next(self, wanted: int) -> bytes:
        try:
            frame = next(self._frames, None)
        except RuntimeError as error:
            raise BadVideo(f"{self.path}: frame {self.position} is damaged ({_last_line(error)})") from None
        if frame is None:
            raise ShortVideo(self.path, self.position, wanted)
        self.position += 1
        return frame


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
