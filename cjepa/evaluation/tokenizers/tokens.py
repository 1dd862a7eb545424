"""All that is measured of a tokenizer on held-out episodes: metrics and reconstruction, and samples for probes."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from cjepa.data.clip_windows import evenly_spread
from cjepa.data.video_clips import VideoClips
from cjepa.data.video_dataset import VideoDataset
from cjepa.evaluation.held_out import in_eval_mode
from cjepa.evaluation.intervals import Interval, bootstrap, bootstrap_metric
from cjepa.evaluation.probes import ObjectSamples, object_samples, read_bodies
from cjepa.progress import Progress
from cjepa.tokenizers.scoring import Encoded, ScoredTokenizer, update_metric
from cjepa.types import Tokens, VideoBatch, to_float_pixels

_PROBE_FRAMES_A_TEST_FRAME = 8
_PROBE_BLOCKS = 4  # short clips, so that they are of many episodes: within one an object hardly turns


class EncodedClips(NamedTuple):
    """A batch, what the tokenizer makes of it, and where it is from; on the CPU."""

    batch: VideoBatch
    encoded: Encoded
    row_BT: np.ndarray
    """Rows of the file."""
    episode_B: np.ndarray


def clips_to_encode(data: VideoClips) -> dict[str, VideoDataset]:
    """Short training clips to fit probes on, and all test clips."""
    test = data.test_dataloader().dataset
    train = VideoDataset(data.file, data.splits["train"], min(_PROBE_BLOCKS, test.blocks), data.frame_stride)
    train.starts = evenly_spread(train.starts, _PROBE_FRAMES_A_TEST_FRAME * len(test) * test.blocks // train.blocks)
    return {"train": train, "test": test}


def encode_dataset(
    module: ScoredTokenizer, data: VideoClips, dataset: VideoDataset, progress: Progress
) -> Iterator[EncodedClips]:
    """Encode and decode clips, under bf16 autocast as token files are made; the module should be in eval mode."""
    for start_B, batch in batches(data, dataset):
        row_BT = start_B[:, None] + np.arange(dataset.blocks) * dataset.frame_stride
        yield EncodedClips(batch, encode_batch(module, batch), row_BT, data.file.episode_of(start_B))
        progress.advance(row_BT.size)


def batches(data: VideoClips, dataset: VideoDataset) -> Iterator[tuple[np.ndarray, VideoBatch]]:
    """All clips of a dataset in order, a batch at a time, after the rows that they start at."""
    for first in range(0, len(dataset), data.batch_size):
        start_B = dataset.starts[first : first + data.batch_size]
        yield start_B, dataset.__getitems__(list(range(first, first + len(start_B))))


@torch.no_grad()
def encode_batch(module: ScoredTokenizer, batch: VideoBatch) -> Encoded:
    """Encode and decode a batch on the module's device, under bf16 autocast; float32, on the CPU."""
    there = batch.on(module.device)
    with torch.autocast(module.device.type, torch.bfloat16):
        encoded = module.encode_and_decode(there)
    return _each(encoded, lambda values: values.float().cpu())


class EpisodeScores:
    """States of metrics, episode by episode, since clips of one episode are not independent.

    Args:
        metrics: whose states are sums.
    """

    def __init__(self, metrics: list[Metric]):
        self.metrics = {metric.name: metric for metric in metrics}
        self._states: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in self.metrics}
        self._errors: dict[int, list[float]] = {}

    def add(self, clips: EncodedClips) -> None:
        """Score a batch."""
        for index, episode in enumerate(clips.episode_B.tolist()):
            one = slice(index, index + 1)
            frames, labels = clips.encoded.frames_BT3YX, clips.batch.labels_BTYX
            encoded = _each(clips.encoded, lambda values, one=one: values[one])
            for name, metric in self.metrics.items():
                metric.reset()
                if update_metric(metric, encoded, None if labels is None else labels[one]):
                    before = self._states[name].get(episode)
                    self._states[name][episode] = {
                        key: _compact(value if before is None else before[key].to_dense() + value)
                        for key, value in metric.metric_state.items()
                    }
            if frames is not None:
                error = (encoded.frames_BT3YX - to_float_pixels(clips.batch.pixels_BTYXC[one])).square().mean()
                self._errors.setdefault(episode, []).append(float(error))

    def intervals(self) -> dict[str, Interval]:
        """Every score that something could be said about."""
        found = {
            name: bootstrap_metric(self.metrics[name], list(states.values()))
            for name, states in self._states.items()
            if states
        }
        return found | ({"psnr": self._psnr()} if self._errors else {})

    def _psnr(self) -> Interval:
        """Of the mean squared error over all pixels, in dB."""
        totals, clips = (np.array([of(errors) for errors in self._errors.values()]) for of in (sum, len))
        value, low, high, n = bootstrap(totals, clips)
        return Interval(*(float(-10 * np.log10(error)) for error in (value, high, low)), n)


class TokenQuality(NamedTuple):
    """What was measured, and the samples to probe."""

    intervals: dict[str, Interval]
    samples: dict[str, ObjectSamples]
    """Of ``train`` and ``test`` episodes; empty where the file has no label images or no named ``objects``."""


def measure(module: ScoredTokenizer, metrics: list[Metric], data: VideoClips, progress: Progress) -> TokenQuality:
    """Encode training and test clips; score the test clips, and gather what probes need of both.

    Args:
        module: trained; it keeps its mode.
        metrics: slot and token metrics whose states are sums.
        data: set up.
        progress: advanced by a number of frames, of :func:`num_frames`.
    """
    scores = EpisodeScores(metrics)
    probed = "masks" in data.file.columns and read_bodies(data.file) is not None
    samples: dict[str, list[ObjectSamples]] = {}
    used = {split: clips for split, clips in clips_to_encode(data).items() if probed or split == "test"}
    with in_eval_mode(module):
        for split, dataset in used.items():
            for clips in encode_dataset(module, data, dataset, progress):
                if split == "test":
                    scores.add(clips)
                if probed:
                    samples.setdefault(split, []).append(_samples(clips, module.tokenizer.info.index_is_place))
    joined = {split: ObjectSamples(*map(torch.cat, zip(*parts, strict=True))) for split, parts in samples.items()}
    return TokenQuality(scores.intervals(), joined)


def num_frames(data: VideoClips) -> int:
    """Frames that :func:`measure` encodes at most."""
    return sum(len(dataset) * dataset.blocks for dataset in clips_to_encode(data).values())


def _samples(clips: EncodedClips, index_is_place: bool) -> ObjectSamples:
    tokens = clips.encoded.tokens
    parts = [tokens.slots_BTSD, tokens.positions_BTS2] if index_is_place else [tokens.slots_BTSD]
    return object_samples(
        torch.cat(parts, dim=-1),
        clips.encoded.masks_BTSYX,
        clips.batch.labels_BTYX,
        clips.batch.objects_BTOF,
        torch.from_numpy(clips.episode_B),
    )


def _compact(state: Tensor) -> Tensor:
    """A copy that needs little memory: of all labels that could be and all slots, few meet in an episode."""
    is_mostly_zero = int(state.count_nonzero()) * (state.ndim + 1) < state.numel()
    return state.to_sparse() if is_mostly_zero else state.clone()


def _each(encoded: Encoded, change: Callable[[Tensor], Tensor]) -> Encoded:
    frames = encoded.frames_BT3YX
    tokens = Tokens(*map(change, encoded.tokens))
    return Encoded(tokens, None if frames is None else change(frames), change(encoded.masks_BTSYX))
