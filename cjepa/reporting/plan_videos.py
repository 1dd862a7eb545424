"""Videos of planned trials: what happened, what the model expected, and the goal."""

from pathlib import Path

import numpy as np
import torch

from cjepa.evaluation.control import Film
from cjepa.evaluation.planning import ModelResult
from cjepa.reporting.plan_places import mark_places, place_colours, places_in_pixels
from cjepa.reporting.sheets import body_colours
from cjepa.reporting.videos import overlay_masks, side_by_side, with_footer, write_video
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of, encode_clips, read_columns
from cjepa.types import VideoBatch, to_byte_pixels

_FPS = 8
_SCALE = 4


def write_videos(folder: Path, result: ModelResult) -> None:
    """One video per filmed trial, real | imagined | goal; a line says how far from the goal each frame is.

    The imagined panel holds each block's decoded prediction while the block runs; it marks the predicted
    places of oracle tokens on the pale real frames, and is left out of other tokens without a decoder.
    """
    control, tokenizer = result.control, result.loaded.tokenizer
    for trial, film in enumerate(control.films):
        goal = control.goals.pixels_BYXC[trial][None]
        masks_TSYX = _masks(tokenizer, film.frames_TYXC)
        colours_SC = body_colours(film.frames_TYXC, masks_TSYX)  # of all panels: slots stay with their bodies
        panels = {"real": overlay_masks(film.frames_TYXC, masks_TSYX, colours_SC=colours_SC)}
        imagined = _imagined(result, trial, film, colours_SC)
        if imagined is not None:
            panels["imagined"] = imagined
        panels["goal"] = overlay_masks(goal, _masks(tokenizer, goal), colours_SC=colours_SC)
        outcome = "success" if control.success[trial] else "failure" if control.measured else "unknown"
        video = side_by_side(list(panels.values()), list(panels), _SCALE)
        footer = footers(film, control.error_names, result.contest.protocol.budget_env_steps, outcome)
        write_video(folder / f"trial{trial:02d}-{outcome}.mp4", with_footer(video, footer), fps=_FPS)


def footers(film: Film, error_names: tuple[str, ...], budget_env_steps: int, outcome: str) -> list[str]:
    """Env step and distance to the goal of every frame, if known, and the outcome of the trial below the last one."""
    texts = []
    for env_step, error_E in enumerate(film.error_TE):
        text = f"env step {env_step} of {budget_env_steps}"
        if np.isfinite(error_E).all():
            errors = ", ".join(f"{name} {value:.2f}" for name, value in zip(error_names, error_E, strict=True))
            text += f": {errors} (success below 1)"
        texts.append(text)
    texts[-1] = f"{outcome}, {texts[-1]}"
    return texts


def _imagined(result: ModelResult, trial: int, film: Film, colours_SC: np.ndarray) -> np.ndarray | None:
    """What the model expected of every frame when the plan was made that led to it."""
    frames_TYXC, stride = film.frames_TYXC.copy(), result.blocks.frame_stride
    for record in result.control.plans:
        if record.imagined_RHSD is None or record.env_step >= len(frames_TYXC) - 1:
            continue
        tokens_1HSD = record.imagined_RHSD[trial : trial + 1]
        first = record.env_step + 1
        steps_T = np.arange(first, min(first + tokens_1HSD.shape[1] * stride, len(frames_TYXC)))
        expected = _expected(result, trial, film, steps_T, (steps_T - first) // stride, tokens_1HSD, colours_SC)
        if expected is None:
            return None
        frames_TYXC[steps_T] = expected
        if record.env_step == 0:
            frames_TYXC[0] = expected[0]
    return frames_TYXC


def _expected(
    result: ModelResult,
    trial: int,
    film: Film,
    steps_T: np.ndarray,
    blocks_T: np.ndarray,
    tokens_1HSD: torch.Tensor,
    colours_SC: np.ndarray,
) -> np.ndarray | None:
    """Decoded predictions, or markers at predicted places on the real frames, of these env steps in these blocks."""
    tokenizer = result.loaded.tokenizer
    decoded = _decode(tokenizer, tokens_1HSD)
    if decoded is not None:
        frames_HYXC = to_byte_pixels(decoded[0][0]).numpy()
        return overlay_masks(frames_HYXC, decoded[1][0].numpy(), colours_SC=colours_SC)[blocks_T]
    scale = (result.contest.protocol.make_env().table, film.frames_TYXC.shape[1])
    places = places_in_pixels(tokenizer, tokens_1HSD, *scale)
    if places is None:
        return None
    seen_1SF = torch.from_numpy(result.control.starts.objects_BOF[trial : trial + 1])
    real = places_in_pixels(tokenizer, tokenizer.encode(seen_1SF[:, None].to(device_of(tokenizer))).slots_BTSD, *scale)
    colours_SC = place_colours(film.frames_TYXC[0], real[0, 0])
    return mark_places(film.frames_TYXC[steps_T], places[0, blocks_T], colours_SC)


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
