"""All scores of a tokenizer: metrics, hidden objects and probes on test episodes, each with its interval."""

from typing import Literal

from cjepa.data.video_clips import VideoClips
from cjepa.evaluation.intervals import Interval
from cjepa.evaluation.measurements import Measurement, OpenProgress, logged
from cjepa.evaluation.metrics import SlotConsistency, every_metric
from cjepa.evaluation.probes import questions, read_bodies, run_probes
from cjepa.evaluation.tokenizers.flow import measure_flow
from cjepa.evaluation.tokenizers.hiding import measure_hiding, num_hiding_frames
from cjepa.evaluation.tokenizers.tokens import measure, num_frames
from cjepa.tokenizers.scoring import ScoredTokenizer


def evaluate(
    module: ScoredTokenizer, data: VideoClips, split: Literal["val", "test"], progress: OpenProgress
) -> list[Measurement]:
    """See :class:`~cjepa.evaluation.measurements.Evaluation`; of validation, what it has logged."""
    size = {"tokens": module.tokenizer.num_slots, "token_dim": module.tokenizer.slot_dim}
    if split == "val":
        return [measurement._replace(**size) for measurement in logged(module, data, split, progress)]
    return [Measurement.of(name, value, **size) for name, value in _test_intervals(module, data, progress).items()]


def _test_intervals(module: ScoredTokenizer, data: VideoClips, progress: OpenProgress) -> dict[str, Interval]:
    bodies = read_bodies(data.file)
    metrics = {metric.name: metric for metric in every_metric(module.tokenizer.num_slots)}
    for metric in module.scores["test"].values():
        metrics.setdefault(metric.name, metric.clone().cpu())
    if bodies and bodies.exchangeable:
        del metrics[SlotConsistency.name]  # a label of one episode has nothing to do with the same one of another
    with progress("encode", num_frames(data), "frames") as bar:
        quality = measure(module, list(metrics.values()), data, bar)
    intervals = quality.intervals
    if frames := num_hiding_frames(data):
        with progress("hide", frames, "frames") as bar:
            intervals = intervals | measure_hiding(module, data, bar)
    if module.tokenizer.tells_flow and "masks" in data.file.columns:
        dataset = data.test_dataloader().dataset
        with progress("flow", len(dataset) * dataset.blocks, "frames") as bar:
            intervals = intervals | measure_flow(module.tokenizer, data, bar)
    if quality.samples:
        with progress("probe", len(questions(bodies)), "probes") as bar:
            intervals = intervals | run_probes(**quality.samples, bodies=bodies, progress=bar)
    return intervals
