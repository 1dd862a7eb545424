"""Measure slots on frames whose background is not quite the one that they were trained on; prints a table.

    python tools/measure_background.py zoo:pusht-slots data/pusht.h5 --update
    python tools/measure_background.py zoo:pusht-slots data/pusht.h5 --update --exact

Clips of 16 blocks of all test episodes, drawn or altered again for each row. Place and angle are read by MLP probes
that were fitted on frames as recorded. Takes about two minutes on one core.
"""

import argparse
import io
import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from update_results import DOCS, markdown, write_block

from cjepa.data.video_clips import VideoClips, VideoDataset
from cjepa.envs import make_env
from cjepa.evaluation.intervals import Interval
from cjepa.evaluation.metrics import ForegroundARI, MeanIoU
from cjepa.evaluation.probes import ObjectSamples, fit_mlp, object_samples, questions, r_squared, read_bodies, task_of
from cjepa.evaluation.tokenizers.tokens import EncodedClips, EpisodeScores, clips_to_encode, encode_dataset
from cjepa.files import read_json, write_json
from cjepa.progress import NoProgress
from cjepa.tokenizers.scoring import ScoredTokenizer
from cjepa.tokenizers.training import load_tokenizer
from cjepa.types import VideoBatch

PROBED = {"cjepa/PushT-v0": ("agent_x", "block_x", "block_angle"), "cjepa/Collide-v0": ("x", "square_angle")}
TABLE = {"cjepa/PushT-v0": ("background_colour", (255, 255, 255)), "cjepa/Collide-v0": ("background", (24, 24, 28))}
BRIGHTNESS = {"-10 %": 0.9, "+10 %": 1.1}
RESULTS, PAGE = DOCS / "results" / "background.json", DOCS / "results" / "tokenizers.md"
HEADINGS = {
    "fg_ari": "FG-ARI",
    "mean_iou": "mean IoU",
    "mlp_r2@agent_x": "agent's place R²",
    "mlp_r2@block_x": "block's place R²",
    "mlp_r2@block_angle": "block's angle R²",
    "mlp_r2@x": "place R²",
    "mlp_r2@square_angle": "squares' angle R²",
}
OF_EXACT = ("fg_ari", "mlp_r2@block_x", "mlp_r2@x")
"""What the page shows of the exact background, which is only there to be compared with."""
_BATCH = 16


class Change(NamedTuple):
    """One row of the table."""

    name: str
    env_kwargs: dict[str, Any] = {}
    """With which the frames are drawn again."""
    alter: Callable[[np.ndarray], np.ndarray] = lambda images: images
    """Frames (..., Y, X, 3) -> frames, uint8."""
    moves: bool = False
    """Whether ``alter`` moves things; it is then applied to label images (..., Y, X, 1) too."""


def changes(env_id: str) -> list[Change]:
    """What is measured of an environment's frames, first of all the frames as they are."""
    option, table = TABLE[env_id]
    rows = [Change("as recorded")]
    if env_id == "cjepa/PushT-v0":
        rows.append(Change("without border", {"wall_colour": list(table)}))
    rows.append(Change("shifted by 1 px", alter=shifted, moves=True))
    for grey in (-12, -25, -50) if min(table) > 127 else (12, 25, 50):
        colour = [value + grey for value in table]
        rows.append(Change(f"table of {tuple(colour)}", {option: colour}))
    rows += [Change(f"brightness {name}", alter=partial(brighter, gain=gain)) for name, gain in BRIGHTNESS.items()]
    rows.append(Change("light that falls by 10 % from left to right", alter=shaded))
    rows += [Change(f"JPEG, quality {quality}", alter=partial(jpeg, quality=quality)) for quality in (90, 75)]
    return rows


def shifted(images_YXC: np.ndarray) -> np.ndarray:
    """To the right and down by one pixel; the first row and column are repeated."""
    padded = np.pad(images_YXC, [(0, 0)] * (images_YXC.ndim - 3) + [(1, 0), (1, 0), (0, 0)], mode="edge")
    return padded[..., :-1, :-1, :]


def brighter(pixels_YXC: np.ndarray, gain: float | np.ndarray) -> np.ndarray:
    """Times a gain, clipped."""
    return (pixels_YXC * gain).round().clip(0, 255).astype(np.uint8)


def shaded(pixels_YXC: np.ndarray) -> np.ndarray:
    """As they are on the left, by 10 % darker on the right."""
    return brighter(pixels_YXC, np.linspace(1, 0.9, pixels_YXC.shape[-2])[:, None])


def jpeg(pixels_YXC: np.ndarray, quality: int) -> np.ndarray:
    """Each frame compressed and decompressed."""
    frames = []
    for frame in pixels_YXC.reshape(-1, *pixels_YXC.shape[-3:]):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        frames.append(np.asarray(Image.open(file)))
    return np.stack(frames).reshape(pixels_YXC.shape)


class ChangedClips:
    """Clips of a data set, with a change.

    Args:
        data: set up.
        clips: to change.
        change: of their frames.
    """

    def __init__(self, data: VideoClips, clips: VideoDataset, change: Change):
        self.starts, self.blocks, self.frame_stride = clips.starts, clips.blocks, clips.frame_stride
        self._file, self._clips, self._change = data.file, clips, change
        kwargs = json.loads(data.file.attributes["env_kwargs"]) | change.env_kwargs
        self._env = make_env(data.file.attributes["env_id"], kwargs) if change.env_kwargs else None

    def __len__(self) -> int:
        return len(self._clips)

    def __getitems__(self, indices: list[int]) -> VideoBatch:
        batch = self._clips.__getitems__(indices)
        pixels, labels = batch.pixels_BTYXC.numpy(), batch.labels_BTYX.numpy()
        if self._env:
            row_BT = self.starts[indices][:, None] + np.arange(self.blocks) * self.frame_stride
            pixels = np.stack([self._drawn(row) for row in row_BT.flat]).reshape(pixels.shape)
        if self._change.moves:
            labels = self._change.alter(labels[..., None])[..., 0]
        pixels = self._change.alter(pixels)
        return batch._replace(pixels_BTYXC=torch.from_numpy(pixels), labels_BTYX=torch.from_numpy(labels))

    def _drawn(self, row: int) -> np.ndarray:
        self._env.set_state(self._file.read("state", row, row + 1)[0].astype(np.float64))
        return self._env.render_pixels()


class Probes:
    """Read place and angle from tokens of frames as recorded.

    Args:
        data: set up.
        samples: of training episodes.
    """

    def __init__(self, data: VideoClips, samples: ObjectSamples):
        self._bodies = read_bodies(data.file)
        asked = [q for q in questions(self._bodies) if q.name in PROBED[data.file.attributes["env_id"]]]
        self._fitted = [(q, fit_mlp(task_of(q, samples, self._bodies.attributes), q.is_class)) for q in asked]

    def scores(self, samples: ObjectSamples) -> dict[str, Interval]:
        """R2 of each answer on held-out episodes, as ``mlp_r2@NAME``."""
        found = {}
        for question, probe in self._fitted:
            task = task_of(question, samples, self._bodies.attributes)
            found[f"mlp_r2@{question.name}"] = r_squared(probe(task.inputs_ND), task)
        return found


def measured(checkpoint: str, path: str, exact: bool) -> dict:
    """A row for each change.

    Args:
        checkpoint: a run, an exported folder, or zoo:NAME.
        path: of episodes.
        exact: take every difference from the background for an object, whatever the tokenizer was trained to do.
    """
    data = VideoClips(path, frame_stride=2, val_blocks=16, val_clips=128, batch_size=_BATCH)
    data.setup("test")
    module = ScoredTokenizer([])
    module.tokenizer = load_tokenizer(checkpoint)
    if exact:
        module.tokenizer.foreground.tolerant = False
    clips, env_id = clips_to_encode(data), data.file.attributes["env_id"]
    probes = Probes(
        data, joined(samples_of(batch) for batch in encode_dataset(module, data, clips["train"], NoProgress()))
    )
    rows = []
    for change in changes(env_id):
        scores, samples = EpisodeScores([ForegroundARI(), MeanIoU()]), []
        for batch in encode_dataset(module, data, ChangedClips(data, clips["test"], change), NoProgress()):
            scores.add(batch)
            samples.append(samples_of(batch))
        found = scores.intervals() | probes.scores(joined(samples))
        found.pop("psnr")  # slots draw the background that they were trained on
        rows.append({"frames": change.name, "scores": {name: score._asdict() for name, score in found.items()}})
        print(rows[-1]["frames"], *map(cell, rows[-1]["scores"].values()), sep=" | ", flush=True)
    background = "tolerant" if module.tokenizer.foreground.tolerant else "exact"
    return {"model": checkpoint, "environment": env_id, "background": background, "rows": rows}


def samples_of(clips: EncodedClips) -> ObjectSamples:
    """What probes need of encoded clips."""
    tokens, masks, batch = clips.encoded.tokens.slots_BTSD, clips.encoded.masks_BTSYX, clips.batch
    return object_samples(tokens, masks, batch.labels_BTYX, batch.objects_BTOF, torch.from_numpy(clips.episode_B))


def joined(parts: Iterable[ObjectSamples]) -> ObjectSamples:
    """All samples, in order."""
    return ObjectSamples(*map(torch.cat, zip(*parts, strict=True)))


def cell(score: dict) -> str:
    """Value and interval."""
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**score)


def page_block(results: list[dict]) -> str:
    """What stands between the markers of the page: a table for each environment and kind of background."""
    parts = []
    for result in results:
        names = list(result["rows"][0]["scores"])
        shown = [name for name in names if name in OF_EXACT] if result["background"] == "exact" else names
        table = [["frames", *(HEADINGS[name] for name in shown)]]
        table += [[row["frames"], *(cell(row["scores"][name]) for name in shown)] for row in result["rows"]]
        parts += [f"`{result['model']}`, {result['background']} background:", markdown(table)]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a run, an exported folder, or zoo:NAME")
    parser.add_argument("episodes")
    parser.add_argument("--exact", action="store_true", help="as if trained without tolerant_background")
    parser.add_argument("--update", action="store_true", help=f"put the rows into {RESULTS.name} and {PAGE.name}")
    args = parser.parse_args()
    result = measured(args.checkpoint, args.episodes, args.exact)
    if args.update:
        key = ("model", "background")
        others = read_json(RESULTS) if RESULTS.exists() else []
        results = [one for one in others if [one[k] for k in key] != [result[k] for k in key]] + [result]
        results.sort(key=lambda one: (one["environment"] != "cjepa/PushT-v0", one["background"]))
        write_json(RESULTS, results)
        write_block(PAGE, "background", page_block(results))


if __name__ == "__main__":
    main()
