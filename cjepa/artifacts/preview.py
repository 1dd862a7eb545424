"""Contact sheets and videos of a few episodes, with masks or slots if there are any."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentError, ArgumentParser

from cjepa.artifacts.inspect import kind_of
from cjepa.artifacts.panels import Shown, Video, fps_of, on_one_canvas, with_masks, write_panels
from cjepa.checkpoints import config_of, find_checkpoint, load_module, read_checkpoint
from cjepa.configuration.parser_messages import one_line
from cjepa.configuration.run_config import read_config
from cjepa.data.store.attributes import from_json
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.origins import episodes_of, tokenizer_of
from cjepa.data.store.shards import open_episodes
from cjepa.data.video_clips import VideoClips
from cjepa.errors import UserError
from cjepa.files import replacing
from cjepa.progress import Progress
from cjepa.reporting.reading import read_run
from cjepa.reporting.slots import clip_sheet, clip_video, view_clips
from cjepa.reporting.style import new_figure, style
from cjepa.reporting.videos import side_by_side, write_png, write_video
from cjepa.shell import as_typed
from cjepa.tokenizers.base import Tokenizer, check_environment
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.specs import TokenizerSpec, build_tokenizer
from cjepa.tokenizers.training import TokenizerTraining
from cjepa.types import to_byte_pixels

_MAX_ENV_STEPS = 300  # of an episode in a video
_TICKS = 8
_TOKENIZER = TokenizerTraining.__name__


def preview_path(
    path: Path, out: Path, episodes: int, seed: int, progress: Progress, data: str | None = None
) -> list[Path]:
    """Draw a sheet and a video of a few random episodes.

    Args:
        path: episodes or tokens; a tokenizer: run folder, checkpoint or ``zoo:NAME``; any other run or study has made
            its own pictures.
        out: folder for ``sheet.png`` and ``episodes.mp4``.
        episodes: how many; of a tokenizer's run, as many held-out clips.
        seed: which.
        progress: advanced by the number of episodes just drawn.
        data: episodes to show to a tokenizer; default those that it was trained on, of which held-out ones are taken.

    Returns:
        The files there are to look at.

    Raises:
        UserError: there is nothing to draw.
    """
    kind = kind_of(path)
    if kind == "checkpoint" or kind == "run" and _is_tokenizer(path):
        return _preview_tokenizer(path, data, out, episodes, seed, progress)
    if data:
        raise UserError(f"{path}: not a tokenizer; --data applies only to tokenizers")
    if kind in ("run", "study"):
        return _what_is_there(path)
    return _preview_episodes(open_episodes(path), out, episodes, seed, progress)


def _is_tokenizer(run: Path) -> bool:
    """Whether the run trained a tokenizer; a run that only tests one has its own pictures."""
    is_tokenizer = (read_run(run / "run.json").get("model") or {}).get("class") == _TOKENIZER
    return is_tokenizer and (run / "checkpoints").is_dir()


def _preview_episodes(data: Episodes, out: Path, count: int, seed: int, progress: Progress) -> list[Path]:
    picks = _pick(np.flatnonzero(data.lengths > 0), count, seed)
    if "tokens" in data.columns:
        return _preview_tokens(data, out, picks, progress)
    data.require("pixels")
    panels = []
    for index in picks:
        panels.append(_shown_episode(data, index))
        progress.advance(1)
    return write_panels(out, data, picks, panels)


def _pick(candidates: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Different ones, in their order."""
    if not len(candidates):
        raise UserError("no episodes to preview")
    return np.sort(np.random.default_rng(seed).choice(candidates, min(count, len(candidates)), replace=False))


def _rows(data: Episodes, index: int, column: str) -> np.ndarray:
    start = int(data.offsets[index])
    return data.read(column, start, start + min(int(data.lengths[index]), _MAX_ENV_STEPS))


def _shown_episode(data: Episodes, index: int) -> Shown:
    frames = _rows(data, index, "pixels")
    if "masks" not in data.columns:
        return Shown({"frames": frames}, {})
    labels_TYX = _rows(data, index, "masks")
    labels_K = np.setdiff1d(labels_TYX, [0])  # one mask for each number up to 255 would take gigabytes
    masks_TKYX = labels_TYX[:, None] == labels_K[:, None, None]
    return with_masks({"frames": frames}, "masks", masks_TKYX, _body_names(data, labels_K))


def _body_names(data: Episodes, labels: np.ndarray) -> list[str]:
    """As the environment calls them, where the file says it; otherwise numbered."""
    names = from_json(data.path, data.attributes, "body_names") if "body_names" in data.attributes else []
    return [names[label - 1] if label <= len(names) else f"body {label - 1}" for label in map(int, labels)]


def _preview_tokens(data: Episodes, out: Path, picks: np.ndarray, progress: Progress) -> list[Path]:
    """What the stored tokens decode to, beside the frames that they were made of; else their values over time."""
    tokenizer, source = _tokenizer_of(data), _source_of(data)
    panels = []
    for index in picks:
        decoded = None if tokenizer is None else _decoded(tokenizer, data, index)
        if decoded is None:
            return [_write_values(out / "tokens.png", data, picks, progress)]
        frames = {} if source is None else {"frames": _rows(source, index, "pixels")}
        shown, masks = {**frames, "decoded": decoded[0]}, decoded[1]
        panels.append(with_masks(shown, "slots", masks, [f"slot {slot}" for slot in range(masks.shape[1])]))
        progress.advance(1)
    return write_panels(out, data, picks, panels)


def _tokenizer_of(data: Episodes) -> Tokenizer | None:
    """The tokenizer that made these tokens, or None."""
    try:
        tokenizer = build_tokenizer(TokenizerSpec.from_plain(tokenizer_of(data)))
    except (UserError, TypeError):  # gone, or somebody else's
        return None
    return tokenizer if fingerprint(tokenizer) == data.attributes.get("tokenizer_fingerprint") else None


def _source_of(data: Episodes) -> Episodes | None:
    """The episodes of the tokens, or None."""
    try:
        source = episodes_of(data)
    except (UserError, KeyError):
        return None
    same = source.fingerprint == data.attributes.get("episodes_fingerprint")
    return source if same and "pixels" in source.columns else None


@torch.inference_mode()
def _decoded(tokenizer: Tokenizer, data: Episodes, index: int) -> tuple[Video, np.ndarray] | None:
    """Frames and masks (T, S, Y, X), or None where there is no decoder."""
    tokens_BTSD = torch.from_numpy(_rows(data, index, "tokens")).float()[None]
    decoded = tokenizer.decode(tokens_BTSD)
    return None if decoded is None else (to_byte_pixels(decoded[0][0]).numpy(), decoded[1][0].float().numpy())


def _write_values(path: Path, data: Episodes, picks: np.ndarray, progress: Progress) -> Path:
    """One image per episode: rows are token values, columns env steps."""
    values = [_rows(data, index, "tokens").astype(np.float32) for index in picks]
    low, high = np.percentile(np.concatenate([rows.ravel() for rows in values]), [1, 99])
    with style():
        figure = new_figure(9, 1.0 + 1.6 * len(picks))
        panels = figure.subplots(len(picks), 1, squeeze=False)[:, 0]
        for axes, index, rows in zip(panels, picks, values, strict=True):
            slots, width = rows.shape[1:]
            picture = axes.imshow(rows.reshape(len(rows), -1).T, aspect="auto", vmin=low, vmax=high, cmap="viridis")
            axes.grid(False)
            shown = range(0, slots, -(-slots // _TICKS))
            axes.set_yticks([(slot + 0.5) * width - 0.5 for slot in shown], [f"{slot}" for slot in shown])
            axes.set_title(f"episode {index}")
            axes.set_ylabel("token")
            progress.advance(1)
        panels[-1].set_xlabel("env step")
        figure.colorbar(picture, ax=panels, label="value")
        with replacing(path) as partial:
            figure.savefig(partial, dpi=120)
    return path


def _preview_tokenizer(
    run: Path, episodes: str | None, out: Path, count: int, seed: int, progress: Progress
) -> list[Path]:
    """Input | reconstruction | slots | tracks of held-out clips."""
    checkpoint = find_checkpoint(str(run))
    content = read_checkpoint(checkpoint)
    if not content["hyper_parameters"].get("_class_path", "").endswith(f".{_TOKENIZER}"):
        raise UserError(
            f"{run}: not a checkpoint of a tokenizer; for a world model give its run folder, which contains pictures"
        )
    module = load_module(TokenizerTraining, content, checkpoint).eval()
    options = read_config(config_of(checkpoint), required=("data",))["data"].get("init_args") or {}
    try:
        data = _clips(checkpoint, options | ({"path": episodes} if episodes else {}))
        data.setup("validate")
    except UserError as error:
        if episodes:
            raise
        raise UserError(f"{error}; {run} was trained on these episodes; give others with --data") from None
    check_environment(module.tokenizer, data.file.attributes.get("env_id"), str(data.file.path))
    dataset = data.val_dataloader().dataset
    views = view_clips(module, data, dataset, _pick(np.arange(len(dataset)), count, seed))
    videos = []
    for view in views:
        title = f"episode {view.episode}, from env step {view.env_step}"
        videos.append(side_by_side([clip_video(view)], [title]))
        progress.advance(1)
    fps = fps_of(data.file) / dataset.frame_stride
    return [
        write_png(out / "sheet.png", clip_sheet(views)),
        write_video(out / "clips.mp4", on_one_canvas(videos, columns=2), fps),
    ]


def _clips(checkpoint: Path, options: dict[str, Any]) -> VideoClips:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(VideoClips, "data.init_args")
    try:
        return parser.instantiate(parser.parse_object({"data": {"init_args": options}})).data.init_args
    except ArgumentError as error:
        raise UserError(f"{config_of(checkpoint)}: {one_line(str(error))}") from None


def _what_is_there(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("media/*") if path.suffix in (".png", ".mp4"))
    if not found:
        raise UserError(
            f"{folder}: contains no pictures or videos yet; for a world model "
            f"`{as_typed('cjepa', 'plan', folder)} -c experiments/pusht/plan.yaml --episodes EPISODES.h5` makes videos"
        )
    return found
