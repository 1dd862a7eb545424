"""Pictures and videos of slots, and of the clips with the lowest scores."""

import copy
from typing import NamedTuple

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary

from cjepa import opencv as cv2
from cjepa.configuration.run_config import run_folder
from cjepa.data.clip_windows import evenly_spread
from cjepa.data.video_clips import VideoClips
from cjepa.data.video_dataset import VideoDataset
from cjepa.evaluation.segmentation import adjusted_rand, contingency
from cjepa.evaluation.tokenizers.tokens import EncodedClips, encode_dataset
from cjepa.progress import NoProgress
from cjepa.reporting.sheets import beside, body_colours, labelled_grid, legend, stacked, with_legend
from cjepa.reporting.videos import GAP, gif, magnified, overlay_masks, side_by_side, write_png, write_video
from cjepa.tokenizers.scoring import Encoded, ScoredTokenizer
from cjepa.types import VideoBatch, to_byte_pixels

_SCALE = 3  # of a panel
_OPACITY = 0.9  # of masks
_FADED = 0.3  # what is left of the frame under masks and tracks
_SUBPIXEL_BITS = 4  # cv2 draws antialiased at 1/16 of a pixel
_SHEET_COLUMNS = 2


class ClipView(NamedTuple):
    """All there is to draw of one clip, as arrays."""

    frames_TYXC: np.ndarray
    drawn_TYXC: np.ndarray | None
    """The reconstruction, where there is a decoder."""
    masks_TSYX: np.ndarray
    labels_TYX: np.ndarray | None
    positions_TS2: np.ndarray
    covers_TS: np.ndarray
    """Whether the slot has a place."""
    episode: int
    env_step: int
    """At which the clip begins."""


class Failure(NamedTuple):
    """A clip and its worst frame."""

    clip: int
    frame: int
    fg_ari: float
    """Of the whole clip: the mean over its frames."""


class SlotOverlays(Callback):
    """Videos of slots and a gallery of failures, from validation and test clips, in ``media/`` and TensorBoard.

    ``slots_0.mp4`` ... show the input, the reconstruction, every slot's mask in its colour, and the slots' tracks;
    ``slots.png`` has their last frames. ``failures.png`` shows the clips of lowest FG-ARI, each at its worst frame.
    Those of a test begin with ``test_``.

    Args:
        num_clips: held-out clips to show, evenly spread.
        num_failures: clips in the gallery.
    """

    def __init__(self, num_clips: int = 4, num_failures: int = 16):
        self.num_clips = num_clips
        self.num_failures = num_failures
        self._scores: list[np.ndarray] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before the first step, since a picture is drawn only after minutes of training.

        Raises:
            UserError: OpenCV, which draws the tracks, cannot be imported.
        """
        if stage != "predict":
            cv2.require()

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._scores += frame_scores(outputs, batch)

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._scores += frame_scores(outputs, batch)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw(trainer, pl_module, trainer.datamodule.val_dataloader().dataset, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw(trainer, pl_module, trainer.datamodule.test_dataloader().dataset, "test")

    def _draw(self, trainer: L.Trainer, module: ScoredTokenizer, dataset: VideoDataset, stage: str) -> None:
        scores, self._scores = self._scores, []
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        data, prefix = trainer.datamodule, "test_" if stage == "test" else ""
        folder = run_folder(trainer) / "media"
        views = view_clips(module, data, dataset, evenly_spread(np.arange(len(dataset)), self.num_clips))
        videos = [clip_video(view) for view in views]
        fps = float(data.file.attributes.get("env_steps_per_second", 10)) / dataset.frame_stride
        boards = [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        for number, video in enumerate(videos):
            write_video(folder / f"{prefix}slots_{number}.mp4", video, fps)
            for board in boards:
                board._get_file_writer().add_summary(
                    _video_summary(f"{stage}/slots_{number}", video, fps), trainer.global_step
                )
        sheets = {"slots": clip_sheet(views)}
        # where clips are shared among processes, this process sees every world_size-th clip
        if worst := worst_clips(scores, self.num_failures):
            clips = np.array([failure.clip * trainer.world_size for failure in worst])
            sheets["failures"] = failure_gallery(view_clips(module, data, dataset, clips), worst)
        for name, sheet in sheets.items():
            write_png(folder / f"{prefix}{name}.png", sheet)
            for board in boards:
                board.add_image(f"{stage}/{name}", sheet, trainer.global_step, dataformats="HWC")


def frame_scores(encoded: Encoded, batch: VideoBatch) -> list[np.ndarray]:
    """FG-ARI of every frame, ``(T,)`` of each clip; NaN with fewer than two objects, nothing without label images."""
    if batch.labels_BTYX is None:
        return []
    counts_BTKS = contingency(encoded.masks_BTSYX, batch.labels_BTYX)[:, :, 1:]
    return list(adjusted_rand(counts_BTKS.flatten(0, 1)).reshape(counts_BTKS.shape[:2]).cpu().numpy())


def worst_clips(scores: list[np.ndarray], count: int) -> list[Failure]:
    """The clips of lowest mean score, the worst first; clips without a scored frame are left out.

    Args:
        scores: of the frames of each clip, ``(T,)``, as :func:`frame_scores` has them.
        count: of clips at the most.
    """
    known = [(clip, score_T) for clip, score_T in enumerate(scores) if not np.isnan(score_T).all()]
    failures = [Failure(clip, int(np.nanargmin(score_T)), float(np.nanmean(score_T))) for clip, score_T in known]
    return sorted(failures, key=lambda failure: failure.fg_ari)[:count]


def view_clips(module: ScoredTokenizer, data: VideoClips, dataset: VideoDataset, clips: np.ndarray) -> list[ClipView]:
    """Encode and decode the clips with these indices."""
    chosen = copy.copy(dataset)
    chosen.starts = dataset.starts[clips]
    views = []
    for part in encode_dataset(module, data, chosen, NoProgress()):
        env_step_B = part.row_BT[:, 0] - data.file.offsets[part.episode_B]
        views += [_view(part, index, int(env_step_B[index])) for index in range(len(part.episode_B))]
    return views


def clip_video(view: ClipView) -> np.ndarray:
    """Input | reconstruction | slots | tracks with a legend of the slots, uint8 (T, Y', X', 3)."""
    panels, colours_SC = _panels(view)
    return with_legend(side_by_side(list(panels.values()), list(panels)), _slot_names(colours_SC))


def clip_sheet(views: list[ClipView]) -> np.ndarray:
    """The last frame of each clip, a row per clip, with the slots' tracks and a legend; uint8 (Y', X', 3)."""
    drawn = [_panels(view) for view in views]
    rows = [[panel[-1] for panel in panels.values()] for panels, _ in drawn]
    labels = [
        f"episode {view.episode}\nfrom env step {view.env_step}\nframe {len(view.frames_TYXC) - 1}" for view in views
    ]
    return _with_legends(rows, labels, list(drawn[0][0]), [_slot_names(colours_SC) for _, colours_SC in drawn])


def failure_gallery(views: list[ClipView], failures: list[Failure]) -> np.ndarray:
    """The worst frame of each clip as input | truth | slots | reconstruction, with its score; uint8 (Y', X', 3)."""
    rows, labels, names = [], [], []
    for view, failure in zip(views, failures, strict=True):
        objects_K11 = np.arange(1, max(int(view.labels_TYX.max()), 1) + 1)[:, None, None]
        truth_TKYX = view.labels_TYX[:, None] == objects_K11
        truth_KC, slots_SC = (body_colours(view.frames_TYXC, masks) for masks in (truth_TKYX, view.masks_TSYX))
        panels = {
            "input": view.frames_TYXC,
            "truth": overlay_masks(_fade(view), truth_TKYX, _OPACITY, truth_KC),
            "slots": overlay_masks(_fade(view), view.masks_TSYX, _OPACITY, slots_SC),
            **_drawn(view),
        }
        names = list(panels)
        rows.append([magnified(panel[failure.frame : failure.frame + 1], 2)[0] for panel in panels.values()])
        where = f"episode {view.episode}\nfrom env step {view.env_step}\nframe {failure.frame}"
        labels.append(f"FG-ARI {failure.fg_ari:.2f}\n{where}")
    half = -(-len(rows) // _SHEET_COLUMNS)
    parts = [slice(first, first + half) for first in range(0, len(rows), half)]
    return beside([labelled_grid(rows[part], labels[part], names) for part in parts])


def draw_tracks(
    frames_TYXC: np.ndarray, positions_TS2: np.ndarray, covers_TS: np.ndarray, colours_SC: np.ndarray
) -> np.ndarray:
    """Where every slot has been so far, a line in its colour with a dot where it is now.

    Args:
        frames_TYXC: uint8, to draw on.
        positions_TS2: (x, y) in [-1, 1].
        covers_TS: bool; a track breaks where a slot has no place.
        colours_SC: RGB of the slots.
    """
    size_2 = np.array(frames_TYXC.shape[2:0:-1])
    points_TS2 = (((positions_TS2 + 1) / 2 * size_2 - 0.5) * (1 << _SUBPIXEL_BITS)).round().astype(int)
    drawn = frames_TYXC.copy()
    for t, image in enumerate(drawn):
        for slot in range(points_TS2.shape[1]):
            colour = tuple(map(int, colours_SC[slot]))
            for before in range(t):
                if covers_TS[before : before + 2, slot].all():
                    ends = (tuple(map(int, point)) for point in points_TS2[before : before + 2, slot])
                    cv2.line(image, *ends, colour, 2, cv2.LINE_AA, _SUBPIXEL_BITS)
            if covers_TS[t, slot]:
                centre = tuple(map(int, points_TS2[t, slot]))
                cv2.circle(image, centre, 4 << _SUBPIXEL_BITS, colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    return drawn


def _video_summary(tag: str, frames_TYXC: np.ndarray, fps: float) -> Summary:
    """What TensorBoard plays; its own `add_video` would need one more package to make the same."""
    height, width = frames_TYXC.shape[1:3]
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif(frames_TYXC, fps))
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def _view(clips: EncodedClips, index: int, env_step: int) -> ClipView:
    tokens, frames, labels = clips.encoded.tokens, clips.encoded.frames_BT3YX, clips.batch.labels_BTYX
    return ClipView(
        clips.batch.pixels_BTYXC[index].numpy(),
        None if frames is None else to_byte_pixels(frames[index]).numpy(),
        clips.encoded.masks_BTSYX[index].numpy(),
        None if labels is None else labels[index].numpy(),
        tokens.positions_BTS2[index].numpy(),
        tokens.scales_BTS1[index, ..., 0].numpy() > 0,
        int(clips.episode_B[index]),
        env_step,
    )


def _panels(view: ClipView) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What is shown of a clip, magnified, and the colours of its slots."""
    colours_SC = body_colours(view.frames_TYXC, view.masks_TSYX)
    slots = overlay_masks(_fade(view), view.masks_TSYX, _OPACITY, colours_SC)
    panels = {"input": view.frames_TYXC, **_drawn(view), "slots": slots}
    large = {name: magnified(frames, _SCALE) for name, frames in panels.items()}
    large["tracks"] = draw_tracks(magnified(_fade(view), _SCALE), view.positions_TS2, view.covers_TS, colours_SC)
    return large, colours_SC


def _slot_names(colours_SC: np.ndarray) -> dict[str, tuple[int, ...]]:
    return {f"slot {slot}": tuple(map(int, colour)) for slot, colour in enumerate(colours_SC)}


def _with_legends(
    rows: list[list[np.ndarray]], labels: list[str], columns: list[str], legends: list[dict[str, tuple[int, ...]]]
) -> np.ndarray:
    """One legend for all rows, or one below each where colours differ from row to row."""
    if all(names == legends[0] for names in legends):
        grid = labelled_grid(rows, labels, columns)
        return stacked([grid, legend(legends[0], grid.shape[1])], GAP)
    parts = []
    for row, label, names in zip(rows, labels, legends, strict=True):
        grid = labelled_grid([row], [label], columns)
        parts.append(stacked([grid, legend(names, grid.shape[1])], GAP))
    return stacked(parts)


def _drawn(view: ClipView) -> dict[str, np.ndarray]:
    return {} if view.drawn_TYXC is None else {"reconstruction": view.drawn_TYXC}


def _fade(view: ClipView) -> np.ndarray:
    """Grey and pale, so that colours are the slots'."""
    grey_TYX1 = view.frames_TYXC.mean(axis=-1, keepdims=True)
    return np.broadcast_to(255 - _FADED * (255 - grey_TYX1), view.frames_TYXC.shape).round().astype(np.uint8)
