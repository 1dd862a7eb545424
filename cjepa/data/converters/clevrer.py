"""CLEVRER (Yi et al., arXiv 1910.01442): videos of colliding objects, what happened in them, questions about it.

The layout is that of the README beside the data: ``video_00000.mp4`` of 128 frames, ``annotation_00000.json`` with
properties, trajectories and collisions (not for test videos), ``train.json`` and the like with questions.
"""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cjepa.configuration.plain_values import check_mapping, check_plain
from cjepa.data.converters.base import Converter, ExtraFile, ReadEpisode
from cjepa.data.converters.video import BadVideo, ShortVideo, VideoReader
from cjepa.data.store.episodes import Episode
from cjepa.errors import UserError
from cjepa.files import read_json

FRAMES = 128
_VIDEO_SECONDS = 5.0
_VECTORS = ("location", "orientation", "velocity", "angular_velocity")
_WORDS = {
    "color": ("gray", "red", "blue", "green", "brown", "cyan", "purple", "yellow"),
    "material": ("metal", "rubber"),
    "shape": ("cube", "sphere", "cylinder"),
}
ATTRIBUTES = ("present", "inside_camera_view", *(f"{vector}_{axis}" for vector in _VECTORS for axis in "xyz"), *_WORDS)
"""What the values of a body in ``objects`` are; the last three count from 0 in the lists of words."""
_QUESTION_FILES = ("train.json", "validation.json", "test.json")
_READ_CHARACTERS = 1 << 20
_MOST_CHARACTERS = 1 << 24
"""Of one video's questions: some 10,000."""


class Clevrer(Converter):
    """``pixels``, and where there are annotations ``objects`` (float32, bodies x attributes) and ``contacts`` (uint8,
    bodies x bodies: 1 in the frame of a collision). Questions go into a second file, one line of JSON a video.

    Bodies are in the order of their ``object_id``; there are as many as in the fullest video, absent ones are zeros.

    Args:
        source: folder with the videos, their annotations and questions, at any depth.
        image_size: side of the square frames, 0 for 480 x 320.
        skip_short: leave out videos of fewer than 128 frames, and damaged ones, instead of refusing them; they are
            listed at the end.
    """

    name = "clevrer"
    choosing = ("skip_short",)

    def __init__(self, source: Path, image_size: int = 0, skip_short: bool = False):
        super().__init__(source)
        self.image_size = image_size
        self.skip_short = skip_short
        self.videos = _by_scene(source, "video_*.mp4")
        if not self.videos:
            raise UserError(f"{source}: contains no video_*.mp4; give a folder with CLEVRER's videos and annotations")
        annotations = _by_scene(source, "annotation_*.json")
        self.annotations = {scene: annotations[scene] for scene in self.videos if scene in annotations}
        if self.annotations and len(self.annotations) < len(self.videos):
            without = self.videos[min(set(self.videos) - set(self.annotations))]
            raise UserError(f"{source}: {without.name} has no annotation, but other videos do; convert them separately")
        self.questions = [path for name in _QUESTION_FILES for path in sorted(source.rglob(name))]
        counts = [len(_read_annotation(path)["object_property"]) for path in self.annotations.values()]
        self.num_bodies = max(counts, default=0)
        self._skipped: set[int] = set()

    @property
    def total_frames(self) -> int:
        return FRAMES * len(self.videos)

    def attributes(self) -> dict[str, Any]:
        names = [path.stem for scene, path in self.videos.items() if scene not in self._skipped]
        found = {"env_steps_per_second": FRAMES / _VIDEO_SECONDS, "episode_names": names}
        if self.annotations:
            found |= {"attribute_names": list(ATTRIBUTES), "attribute_words": _WORDS}
        return found

    def episodes(self) -> Iterator[tuple[str, ReadEpisode]]:
        for scene, path in self.videos.items():
            yield path.stem, partial(self._read, scene)

    def files(self) -> Iterable[Path]:
        return [*self.videos.values(), *self.annotations.values()]

    def _read(self, scene: int) -> Episode | None:
        path = self.videos[scene]
        try:
            episode = {"pixels": _pixels(path, self.image_size)}
        except BadVideo as error:
            if not self.skip_short:
                raise UserError(f"{error}; --skip_short leaves such videos out") from None
            self._skipped.add(scene)
            reason = f"{error.frames} of {FRAMES} frames" if isinstance(error, ShortVideo) else "damaged"
            self.left_out.append(f"{path.stem} ({reason})")
            return None
        return episode | (_bodies(self.annotations[scene], self.num_bodies) if scene in self.annotations else {})

    def extra_file(self, out: Path) -> ExtraFile | None:
        if not self.questions:
            return None
        return ExtraFile(out.with_name(f"{out.stem}.questions.jsonl"), self._write_questions)

    def _write_questions(self, path: Path, episode_names: list[str]) -> None:
        """One line a video that has questions: ``{"episode": its index, "video": its name, "questions": [...]}``."""
        episodes = {video: index for index, video in enumerate(episode_names)}
        with path.open("w") as out:
            for source in self.questions:
                for scene, questions in _scenes(source):
                    video = self.videos[scene].stem if scene in self.videos else None
                    if video in episodes:
                        line = {"episode": episodes[video], "video": video, "questions": questions}
                        out.write(json.dumps(line) + "\n")


def _pixels(path: Path, image_size: int) -> np.ndarray:
    """All frames of a video, uint8 (128, Y, X, 3)."""
    with VideoReader(path, image_size) as video:
        pixels = video.read(FRAMES)
        if not video.at_end():
            raise UserError(f"{path}: more than {FRAMES} frames, the length of CLEVRER videos")
    return pixels


def _by_scene(folder: Path, pattern: str) -> dict[int, Path]:
    """Files by the number in their name, in order."""
    found: dict[int, Path] = {}
    for path in sorted(folder.rglob(pattern), key=lambda path: path.name):
        digits = path.stem.rpartition("_")[2]
        if not digits.isdecimal():
            raise UserError(f"{path}: expected a number at the end of the name, as in {pattern.replace('*', '00000')}")
        if int(digits) in found:
            raise UserError(f"{path}: has the same number as {found[int(digits)]}; keep one of them")
        found[int(digits)] = path
    return dict(sorted(found.items()))


def _read_annotation(path: Path) -> dict[str, Any]:
    keys = ("object_property", "motion_trajectory", "collision")
    return check_mapping(f"{path}: this CLEVRER annotation", read_json(path), dict.fromkeys(keys, (list,)), keys)


def _bodies(path: Path, num_bodies: int) -> Episode:
    """``objects`` and ``contacts`` of one video."""
    annotation = _read_annotation(path)
    properties = annotation["object_property"]
    try:
        places = {entry: place for place, entry in enumerate(sorted(body["object_id"] for body in properties))}
        words = {body["object_id"]: [names.index(body[kind]) for kind, names in _WORDS.items()] for body in properties}
        objects = _objects(annotation["motion_trajectory"], places, words, num_bodies)
        return {"objects": objects, "contacts": _contacts(annotation["collision"], places, num_bodies)}
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not a CLEVRER annotation ({type(error).__name__}: {error})") from None


def _objects(frames: list, places: dict[int, int], words: dict[int, list], num_bodies: int) -> np.ndarray:
    """float32 (T, bodies, attributes)."""
    if len(frames) < FRAMES:
        raise ValueError(f"motion_trajectory has {len(frames)} frames, expected {FRAMES}")
    values = np.zeros((FRAMES, num_bodies, len(ATTRIBUTES)), np.float32)
    for index, frame in enumerate(frames[:FRAMES]):
        if frame["frame_id"] != index:
            raise ValueError(f"frame_id {frame['frame_id']} at index {index} of motion_trajectory")
        for body in frame["objects"]:
            key = body["object_id"]
            vectors = np.concatenate([body[vector] for vector in _VECTORS])
            values[index, places[key]] = [1, body["inside_camera_view"], *vectors, *words[key]]
    return values


def _contacts(collisions: list, places: dict[int, int], num_bodies: int) -> np.ndarray:
    """uint8 (T, bodies, bodies), symmetric; what collides after the last frame is not in the video."""
    values = np.zeros((FRAMES, num_bodies, num_bodies), np.uint8)
    for collision in collisions:
        frame, (first, second) = collision["frame_id"], (places[key] for key in collision["object_ids"])
        if type(frame) is not int or frame < 0:
            raise ValueError(f"a collision at frame_id {frame}")
        values[frame : frame + 1, [first, second], [second, first]] = 1
    return values


def _scenes(path: Path) -> Iterator[tuple[int, list]]:
    """Scene and questions, one video at a time out of one long list."""
    decoder, text, last = json.JSONDecoder(), "", False
    with path.open(encoding="utf-8", errors="surrogateescape") as stream:
        if stream.read(1) != "[":
            raise UserError(f"{path}: expected a list of videos with their questions")
        while True:
            text = text.lstrip(" \t\r\n,")
            if text.startswith("]"):
                return
            try:
                entry, end = decoder.raw_decode(text)
            except (ValueError, RecursionError) as error:
                if last or len(text) > _MOST_CHARACTERS or isinstance(error, RecursionError):
                    raise UserError(f"{path}: damaged ({error})") from None
                more = stream.read(_READ_CHARACTERS)
                text, last = text + more, not more
                continue
            text = text[end:]
            yield _scene(path, entry)


def _scene(path: Path, entry: Any) -> tuple[int, list]:
    types = {"scene_index": (int,), "questions": (list,)}
    check_plain(str(path), entry)
    check_mapping(f"{path}: an entry", entry, types, tuple(types))
    return entry["scene_index"], entry["questions"]
