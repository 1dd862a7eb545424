"""Videos of planned trials: what happened and where plans led in the model, what it expected, and the goal."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cjepa.evaluation.planning.films import Film, Imagined
from cjepa.evaluation.planning.models import ModelResult
from cjepa.reporting.plan_places import draw_paths, mark_places, place_colours, places_in_pixels
from cjepa.reporting.sheets import body_colours
from cjepa.reporting.videos import magnified, overlay_masks, side_by_side, with_footer, write_video
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of, encode_clips, read_columns
from cjepa.types import VideoBatch, to_byte_pixels

_FPS = 8
_SCALE = 4


def write_videos(folder: Path, result: ModelResult) -> None:
    """One video per filmed trial, real | imagined | goal; a line says how far from the goal each frame is.

    On the real frames are the imagined ways of the bodies, by the plan under way and by other good candidates of its
    search, where tokens hold places. The imagined panel holds each block's decoded prediction while the block runs; it
    marks the predicted places of oracle tokens on the pale real frames, and is left out of other tokens without a
    decoder.
    """
    control, tokenizer = result.control, result.loaded.tokenizer
    for film, imagined in zip(control.films, result.imagined, strict=True):
        trial, goal = film.trial, control.goals.pixels_BYXC[film.trial][None]
        masks_TSYX = _masks(tokenizer, film.frames)
        colours_SC = body_colours(film.frames, masks_TSYX)  # of all panels: slots stay with their bodies
        real = magnified(overlay_masks(film.frames, masks_TSYX, colours_SC=colours_SC), _SCALE)
        panels = {"real": _with_paths(real, film, imagined, result.contest.protocol.make_env().table)}
        expected = _imagined(result, film, imagined, colours_SC)
        if expected is not None:
            panels["imagined"] = magnified(expected, _SCALE)
        panels["goal"] = magnified(overlay_masks(goal, _masks(tokenizer, goal), colours_SC=colours_SC), _SCALE)
        outcome = "success" if control.success[trial] else "failure" if control.measured else "unknown"
        video = side_by_side(list(panels.values()), list(panels))
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


def _with_paths(
    frames_TYXC: np.ndarray, film: Film, imagined: Sequence[Imagined], table: tuple[float, float] | None
) -> np.ndarray:
    """Frames with the paths of the plan that was under way."""
    drawn_TYXC, ends = frames_TYXC.copy(), [*(later.env_step for later in imagined[1:]), len(frames_TYXC)]
    for plan, end in zip(imagined, ends, strict=True):
        if plan.paths_NUO2 is None:
            continue
        table_px = film.frames.shape[1] / (table[1] - table[0])
        places_NUO2 = (plan.paths_NUO2 - table[0]) * table_px
        colours_OC = place_colours(film.frames[plan.env_step], places_NUO2[0, 0])
        for env_step in range(plan.env_step, end):
            drawn_TYXC[env_step] = draw_paths(frames_TYXC[env_step], places_NUO2 * _SCALE, colours_OC)
    return drawn_TYXC


def _imagined(
    result: ModelResult, film: Film, imagined: Sequence[Imagined], colours_SC: np.ndarray
) -> np.ndarray | None:
    """What the model expected of every frame when the plan was made that led to it."""
    frames_TYXC, stride = film.frames.copy(), result.blocks.frame_stride
    for plan in imagined:
        first = plan.env_step + 1
        steps_T = np.arange(first, min(first + len(plan.tokens_HSD) * stride, len(frames_TYXC)))
        expected = _expected(result, film, steps_T, (steps_T - first) // stride, plan.tokens_HSD[None], colours_SC)
        if expected is None:
            return None
        frames_TYXC[steps_T] = expected
        if plan.env_step == 0:
            frames_TYXC[0] = expected[0]
    return frames_TYXC


def _expected(
    result: ModelResult,
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
    scale = (result.contest.protocol.make_env().table, film.frames.shape[1])
    places = places_in_pixels(tokenizer, tokens_1HSD, *scale)
    if places is None:
        return None
    seen_1SF = torch.from_numpy(film.seen.objects_BOF[:1])
    real = places_in_pixels(tokenizer, tokenizer.encode(seen_1SF[:, None].to(device_of(tokenizer))).slots_BTSD, *scale)
    colours_SC = place_colours(film.frames[0], real[0, 0])
    return mark_places(film.frames[steps_T], places[0, blocks_T], colours_SC)


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
