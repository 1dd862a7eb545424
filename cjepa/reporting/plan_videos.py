"""Videos of planned trials: what happened, what the model expected, and the goal."""

from pathlib import Path

import numpy as np
import torch

from cjepa.evaluation.control import ControlResult, Film
from cjepa.evaluation.planning import ModelResult
from cjepa.reporting.sheets import body_colours
from cjepa.reporting.videos import overlay_masks, side_by_side, with_footer, write_video
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of, encode_clips, read_columns
from cjepa.types import VideoBatch, to_byte_pixels

_FPS = 8
_SCALE = 4


def write_videos(folder: Path, result: ModelResult) -> None:
    """One video per filmed trial, real | imagined | goal; a line says how far from the goal each frame is.

    The imagined panel holds each block's decoded prediction while the block runs; it is left out where the tokenizer
    has no decoder.
    """
    control, tokenizer = result.control, result.loaded.tokenizer
    for trial, film in enumerate(control.films):
        goal = control.goals.pixels_BYXC[trial][None]
        masks_TSYX = _masks(tokenizer, film.frames_TYXC)
        colours_SC = body_colours(film.frames_TYXC, masks_TSYX)  # of all panels: slots stay with their bodies
        panels = {"real": overlay_masks(film.frames_TYXC, masks_TSYX, colours_SC=colours_SC)}
        imagined = _imagined(control, tokenizer, trial, film, result.blocks.frame_stride, colours_SC)
        if imagined is not None:
            panels["imagined"] = imagined
        panels["goal"] = overlay_masks(goal, _masks(tokenizer, goal), colours_SC=colours_SC)
        outcome = "success" if control.success[trial] else "failure"
        video = side_by_side(list(panels.values()), list(panels), _SCALE)
        footer = footers(film, control.error_names, result.contest.protocol.budget_env_steps, outcome)
        write_video(folder / f"trial{trial:02d}-{outcome}.mp4", with_footer(video, footer), fps=_FPS)


def footers(film: Film, error_names: tuple[str, ...], budget_env_steps: int, outcome: str) -> list[str]:
    """Env step and distance to the goal of every frame, and the outcome of the trial below the last one."""
    texts = []
    for env_step, error_E in enumerate(film.error_TE):
        errors = ", ".join(f"{name} {value:.2f}" for name, value in zip(error_names, error_E, strict=True))
        texts.append(f"env step {env_step} of {budget_env_steps}: {errors} (success below 1)")
    texts[-1] = f"{outcome}, {texts[-1]}"
    return texts


def _imagined(
    control: ControlResult, tokenizer: Tokenizer, trial: int, film: Film, frame_stride: int, colours_SC: np.ndarray
) -> np.ndarray | None:
    """What the model expected of every frame when the plan was made that led to it."""
    frames = film.frames_TYXC.copy()
    for record in control.plans:
        if record.imagined_RHSD is None or record.env_step >= len(frames) - 1:
            continue
        decoded = _decode(tokenizer, record.imagined_RHSD[trial : trial + 1])
        if decoded is None:
            return None
        blocks = overlay_masks(to_byte_pixels(decoded[0][0]).numpy(), decoded[1][0].numpy(), colours_SC=colours_SC)
        first = record.env_step + 1
        expected = np.repeat(blocks, frame_stride, axis=0)[: len(frames) - first]
        frames[first : first + len(expected)] = expected
        if record.env_step == 0:
            frames[0] = blocks[0]
    return frames


def _masks(tokenizer: Tokenizer, frames_TYXC: np.ndarray) -> np.ndarray:
    nothing = np.zeros((len(frames_TYXC), 1, *frames_TYXC.shape[1:3]), np.float32)
    if "pixels" not in read_columns(tokenizer):
        return nothing
    decoded = _decode(tokenizer, encode_clips(tokenizer, VideoBatch(torch.from_numpy(frames_TYXC)[None])))
    return nothing if decoded is None else decoded[1][0].numpy()


def _decode(tokenizer: Tokenizer, tokens_BTSD: torch.Tensor) -> list[torch.Tensor] | None:
    """Frames and masks on the CPU, or None where there is no decoder."""
    decoded = tokenizer.decode(tokens_BTSD.to(device_of(tokenizer)))
    return decoded and [values.float().cpu() for values in decoded]
