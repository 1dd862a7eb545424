"""Pictures of frames and masks: overlays, panels with captions, contact sheets, PNG and MP4 files."""

import logging
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cjepa.files import replacing

logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns when a video is left before its last frame

SLOT_COLOURS = np.array(
    [
        (230, 75, 53),
        (0, 114, 206),
        (0, 158, 115),
        (245, 190, 40),
        (170, 90, 200),
        (60, 190, 225),
        (240, 130, 30),
        (225, 110, 170),
        (110, 150, 40),
        (120, 85, 60),
        (70, 80, 160),
        (125, 135, 145),
    ],
    np.uint8,
)
"""(12, 3) RGB of bodies and slots; the 13th starts over."""

GAP = 6
"""Pixels between panels."""
INK = (35, 38, 42)
"""RGB of text."""

_WHITE = 255
_GIF_COLOURS = 64
_FONT_SIZES = (15, 13, 11, 9)


def overlay_masks(
    frames_TYXC: np.ndarray, masks_TSYX: np.ndarray, alpha: float = 0.5, colours_SC: np.ndarray = SLOT_COLOURS
) -> np.ndarray:
    """Tint every slot's pixels with the slot's colour.

    Args:
        frames_TYXC: uint8.
        masks_TSYX: float in [0, 1]; where they sum to less than 1 the frame shows through.
        alpha: opacity of a full mask.
        colours_SC: RGB of the slots; further slots start over.

    Returns:
        uint8 (T, Y, X, 3).

    Raises:
        ValueError: masks and frames do not fit each other.
    """
    frames, masks = np.asarray(frames_TYXC), np.asarray(masks_TSYX)
    if masks.shape[0] != frames.shape[0] or masks.shape[2:] != frames.shape[1:3]:
        raise ValueError(
            f"masks {masks.shape} do not fit frames {frames.shape}; expected (T, S, Y, X) and (T, Y, X, 3)"
        )
    colours = colours_SC[np.arange(masks.shape[1]) % len(colours_SC)].astype(np.float32)
    tinted = np.empty(frames.shape, np.uint8)
    for t, frame in enumerate(frames):  # one at a time: many masks as floats take gigabytes
        tinted[t] = _tinted(frame.astype(np.float32), masks[t], alpha, colours)
    return tinted


def _tinted(frame_YXC: np.ndarray, masks_SYX: np.ndarray, alpha: float, colours_SC: np.ndarray) -> np.ndarray:
    masks = np.clip(np.asarray(masks_SYX, np.float32), 0.0, 1.0)
    # Masks that overlap share the pixel instead of exceeding white.
    masks = masks / np.maximum(masks.sum(axis=0), 1.0)
    tint_YXC = np.einsum("syx,sc->yxc", masks, colours_SC)
    mixed = frame_YXC * (1.0 - alpha * masks.sum(axis=0)[..., None]) + alpha * tint_YXC
    return np.clip(np.rint(mixed), 0, 255)


def side_by_side(panels: Sequence[np.ndarray], labels: Sequence[str], scale: int = 1) -> np.ndarray:
    """Panels in a row, each under its caption; shorter ones hold their last frame.

    Args:
        panels: uint8 (T, Y, X, 3) each; T, Y and X may differ.
        labels: one caption a panel.
        scale: whole-number magnification, nearest neighbour.

    Returns:
        uint8 (T, Y', X', 3), Y' and X' even.

    Raises:
        ValueError: no panels, or not a caption for each.
    """
    if len(panels) != len(labels) or not panels:
        raise ValueError(f"{len(panels)} panels and {len(labels)} labels; expected one label per panel, at least one")
    steps = max(len(panel) for panel in panels)
    columns = []
    for panel, label in zip(panels, labels, strict=True):
        panel = magnified(np.asarray(panel, np.uint8), scale)
        held = np.concatenate([panel, np.repeat(panel[-1:], steps - len(panel), axis=0)])
        title = np.broadcast_to(caption(label, panel.shape[2]), (steps, *_caption_shape(panel.shape[2])))
        columns.append(np.concatenate([title, held], axis=1))
    height = max(column.shape[1] for column in columns)
    width = sum(column.shape[2] for column in columns) + GAP * (len(columns) - 1)
    canvas = np.full((steps, height, width, 3), _WHITE, np.uint8)
    left = 0
    for column in columns:
        canvas[:, : column.shape[1], left : left + column.shape[2]] = column
        left += column.shape[2] + GAP
    return _even(canvas)


def with_footer(frames_TYXC: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """A line of text below every frame.

    Args:
        frames_TYXC: uint8.
        texts: one per frame; what is too long is cut.

    Returns:
        uint8 (T, Y + 22, X, 3).
    """
    lines = np.stack([caption(text, frames_TYXC.shape[2]) for text in texts])
    return _even(np.concatenate([frames_TYXC, lines], axis=1))


def contact_sheet(frames: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Frames of one size, row by row on a white sheet.

    Args:
        frames: uint8 (Y, X, 3) each.
        columns: frames a row.

    Returns:
        uint8 (Y', X', 3).

    Raises:
        ValueError: no frames.
    """
    if not len(frames):
        raise ValueError("no frames for a contact sheet")
    tiles = np.stack([np.asarray(frame, np.uint8) for frame in frames])
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    height, width = tiles.shape[1] + GAP, tiles.shape[2] + GAP
    sheet = np.full((rows * height - GAP, columns * width - GAP, 3), _WHITE, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def magnified(frames_TYXC: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel as a square of ``scale`` x ``scale`` pixels."""
    return frames_TYXC.repeat(scale, axis=1).repeat(scale, axis=2)


def caption(text: str, width: int) -> np.ndarray:
    """uint8 (22, width, 3): the largest font that fits, else the text cut short."""
    image = Image.new("RGB", (width, _caption_shape(width)[0]), (_WHITE,) * 3)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(_FONT_SIZES[-1])
    for size in _FONT_SIZES:
        candidate = ImageFont.load_default(size)
        if draw.textlength(text, candidate) <= width - 4:
            font = candidate
            break
    else:
        while text and draw.textlength(text + "...", font) > width - 4:
            text = text[:-1]
        text += "..."
    draw.text((width / 2, image.height / 2), text, fill=INK, font=font, anchor="mm")
    return np.asarray(image)


def write_video(path: str | Path, frames_TYXC: np.ndarray, fps: float) -> Path:
    """Write an H.264 file that browsers play (yuv420p); odd sizes get a white edge of one pixel.

    Args:
        path: ends in ``.mp4``.
        frames_TYXC: uint8, at least one frame.
        fps: frames per second.

    Raises:
        ValueError: other frames than these.
        OSError: it could not be written, as where the disk is full; the file is named.
    """
    frames = np.asarray(frames_TYXC)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"video frames are {frames.dtype} {frames.shape}; expected uint8 (T, Y, X, 3), T >= 1")
    frames = np.ascontiguousarray(_even(frames))
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(Fraction(fps).limit_denominator()), "-i", "-"]
    h264 = ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-movflags", "+faststart"]
    with replacing(path) as partial:
        # imageio's own writer hides how ffmpeg ended
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *raw, *h264, str(partial)]
        done = subprocess.run(command, input=frames.data.cast("B"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            reason = f" ({said[-1]})" if said else ""
            raise OSError(f"{path}: the video could not be written; is the disk full?{reason}")
    return Path(path)


def video_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels of a video file; (16, 9) of what is none."""
    try:
        return next(imageio_ffmpeg.read_frames(str(path)))["size"]
    except (OSError, RuntimeError):  # ffmpeg could not read it
        return 16, 9


def write_png(path: str | Path, image_YXC: np.ndarray) -> Path:
    """Write a uint8 (Y, X, 3) image."""
    image = Image.fromarray(np.asarray(image_YXC, np.uint8))
    with replacing(path) as partial:
        image.save(partial, format="PNG", optimize=True)
    return Path(path)


def gif(frames_TYXC: np.ndarray, fps: float) -> bytes:
    """An animated GIF, endless, of 64 colours: what TensorBoard shows of a video.

    Args:
        frames_TYXC: uint8.
        fps: frames per second.
    """
    first, *rest = (Image.fromarray(frame).quantize(_GIF_COLOURS) for frame in frames_TYXC)
    content = BytesIO()
    first.save(content, "GIF", save_all=True, append_images=rest, duration=1000 / fps, loop=0)
    return content.getvalue()


def _even(frames_TYXC: np.ndarray) -> np.ndarray:
    # 4:2:0 chroma has one sample for two pixels: the encoder refuses odd sizes.
    odd_Y, odd_X = frames_TYXC.shape[1] % 2, frames_TYXC.shape[2] % 2
    return np.pad(frames_TYXC, ((0, 0), (0, odd_Y), (0, odd_X), (0, 0)), constant_values=_WHITE)


def _caption_shape(width: int) -> tuple[int, int, int]:
    return _FONT_SIZES[0] + 7, width, 3
