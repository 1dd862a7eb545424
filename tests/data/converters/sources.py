"""Small sources in every foreign format, and the episodes that they were made of.

A source is made by ``SOURCES[format](folder, num_episodes)``, which returns what to give ``cjepa convert``.
"""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch

from cjepa.data.converters.base import Converter
from cjepa.data.store.episodes import Episode
from cjepa.reporting.videos import write_video
from tests.contracts import concrete_subclasses
from tests.data.converters.episodes import FPS, an_episode, frames
from tests.data.converters.lerobot_datasets import lerobot_v3


def swm_hdf5(folder: Path, num_episodes: int) -> Path:
    """As stable-worldmodel 0.1.1 writes it: no attributes; the last action and first reward of an episode are NaN."""
    path = folder / "swm.h5"
    episodes = [recorded(index) | {"reward": rewards(index)} for index in range(num_episodes)]
    lengths = [len(episode["action"]) for episode in episodes]
    with h5py.File(path, "w", libver="latest") as file:
        for name in episodes[0]:
            values = np.concatenate([episode[name] for episode in episodes])
            file.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]), chunks=(1, *values.shape[1:]))
        file["task"] = np.array([b"push"] * sum(lengths))
        file["ep_len"] = np.array(lengths, np.int32)
        file["ep_offset"] = (np.cumsum(lengths) - lengths).astype(np.int64)
    return path


def recorded(index: int) -> Episode:
    """An episode as stable-worldmodel records it: nothing was done after the last frame."""
    episode = an_episode(index)
    episode["action"][-1] = np.nan
    return episode


def rewards(index: int) -> np.ndarray:
    """float64 (rows,); no reward has come before the first frame."""
    values = np.arange(len(an_episode(index)["action"]), dtype=np.float64)
    values[0] = np.nan
    return values


def swm_video(folder: Path, num_episodes: int) -> Path:
    """As stable-worldmodel 0.1.1 writes it."""
    root = folder / "swm_video"
    (root / "pixels").mkdir(parents=True)
    episodes = [recorded(index) for index in range(num_episodes)]
    lengths = np.array([len(episode["action"]) for episode in episodes], np.int32)
    for name in ("action", "proprio", "state"):
        np.savez(root / f"{name}.npz", np.concatenate([episode[name] for episode in episodes]))
    np.savez(root / "task.npz", np.array(["push"] * int(lengths.sum())))
    np.savez(root / "ep_len.npz", lengths)
    np.savez(root / "ep_offset.npz", (np.cumsum(lengths) - lengths).astype(np.int64))
    for index, episode in enumerate(episodes):
        write_video(root / "pixels" / f"ep_{index}.mp4", episode["pixels"], FPS)
    return root


def swm_lance(folder: Path, num_episodes: int) -> Path:
    """As stable-worldmodel 0.1.1 writes it: JPEG in a binary column, lists of float32."""
    pa, lance = pytest.importorskip("pyarrow"), pytest.importorskip("lance")
    batches = []
    for index in range(num_episodes):
        episode = recorded(index)
        rows = len(episode["action"])
        columns = {
            "episode_idx": pa.array(np.full(rows, index, np.int32)),
            "step_idx": pa.array(np.arange(rows, dtype=np.int32)),
            "pixels": pa.array([jpeg(frame) for frame in episode["pixels"]], pa.binary()),
            "task": pa.array(["push"] * rows),
        }
        for name in ("action", "proprio", "state"):
            flat = pa.array(episode[name].reshape(-1))
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, episode[name].shape[1])
        batches.append(pa.RecordBatch.from_pydict(columns))
    path = folder / "swm.lance"
    lance.write_dataset(pa.Table.from_batches(batches), str(path))
    return path


def jpeg(frame: np.ndarray) -> bytes:
    """Quality 95, as theirs."""
    return cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def dino_wm(folder: Path, num_episodes: int) -> Path:
    """``pusht_noise/train``: tensors padded with zeros, actions in pixels."""
    root = folder / "train"
    (root / "obses").mkdir(parents=True)
    episodes = [an_episode(index) for index in range(num_episodes)]
    lengths = [len(episode["action"]) for episode in episodes]
    tensors = {"states": np.zeros((num_episodes, max(lengths), 5), np.float64)}
    tensors |= {name: np.zeros((num_episodes, max(lengths), 2), np.float64) for name in ("velocities", "rel_actions")}
    for index, (episode, length) in enumerate(zip(episodes, lengths, strict=True)):
        tensors["states"][index, :length] = episode["state"][:, :5]
        tensors["velocities"][index, :length] = episode["state"][:, 5:]
        tensors["rel_actions"][index, :length] = episode["action"] * 100
        write_video(root / "obses" / f"episode_{index:03d}.mp4", episode["pixels"], FPS)
    for name, values in tensors.items():
        torch.save(torch.from_numpy(values), root / f"{name}.pth")
    (root / "seq_lengths.pkl").write_bytes(pickle.dumps(lengths))
    return root


def cjepa_slots(folder: Path, num_episodes: int) -> Path:
    """The slots' pickle and the three others, in a folder of their own; video names repeat between splits."""
    root = folder / "slots"
    root.mkdir()
    contents: dict[str, dict] = {name: {"train": {}, "val": {}} for name in ("slots", "action", "proprio", "state")}
    for index in range(num_episodes):
        split, name = ("val", f"{index // 2}_pixels.mp4") if index % 2 else ("train", f"{index // 2}_pixels.mp4")
        episode = an_episode(index)
        contents["slots"][split][name] = slots(index)
        for column in ("action", "proprio", "state"):
            contents[column][split][name] = episode[column]
    for name, content in contents.items():
        path = root / ("pusht_slots.pkl" if name == "slots" else f"pusht_expert_{name}_meta.pkl")
        path.write_bytes(pickle.dumps(content, protocol=4))
    return root


def slots(index: int, num_slots: int = 4, width: int = 128) -> np.ndarray:
    """float32 (rows, slots, width) of episode ``index``."""
    rows = len(an_episode(index)["action"])
    return np.random.default_rng(2000 + index).normal(size=(rows, num_slots, width)).astype(np.float32)


def clevrer_annotation(scene: int, num_bodies: int, num_frames: int = 128) -> dict:
    """As the README beside CLEVRER has it; body 1 is out of view in the first ten frames, the first two collide."""
    kinds = [("blue", "rubber", "sphere"), ("red", "metal", "cube"), ("cyan", "metal", "cylinder")]
    properties = [dict(zip(("color", "material", "shape"), kinds[body % 3], strict=True)) for body in range(num_bodies)]
    trajectory = []
    for frame in range(num_frames):
        bodies = [
            {
                "object_id": body,
                "location": [body + frame / 100, scene, 0.25],
                "orientation": [0.0, 0.0, frame / 10],
                "velocity": [1.0, 0.0, 0.0],
                "angular_velocity": [0.0, 0.0, 0.5],
                "inside_camera_view": body != 1 or frame >= 10,
            }
            for body in range(num_bodies)
        ]
        trajectory.append({"frame_id": frame, "objects": bodies})
    return {
        "scene_index": scene,
        "video_filename": f"video_{scene:05d}.mp4",
        "object_property": [{"object_id": body, **entry} for body, entry in enumerate(properties)],
        "motion_trajectory": trajectory,
        "collision": [{"object_ids": [1, 0], "frame_id": 20 + scene, "location": [0.0, 0.0, 0.0]}],
    }


def clevrer(folder: Path, num_episodes: int) -> Path:
    """The folders of the release; videos of a quarter of the size in each direction."""
    root = folder / "clevrer"
    places = [root / "video_train" / "video_00000-01000", root / "annotation_train" / "annotation_00000-01000"]
    for path in (*places, root / "questions"):
        path.mkdir(parents=True)
    questions = []
    for scene in range(num_episodes):
        pixels = np.stack([cv2.resize(frame, (120, 80)) for frame in frames(scene, 128)])
        write_video(places[0] / f"video_{scene:05d}.mp4", pixels, 25)
        annotation = clevrer_annotation(scene, 2 + scene % 2)
        (places[1] / f"annotation_{scene:05d}.json").write_text(json.dumps(annotation))
        asked = [{"question_id": 0, "question": f"Which, in {scene}?", "question_type": "descriptive", "answer": "red"}]
        questions.append({"scene_index": scene, "video_filename": f"video_{scene:05d}.mp4", "questions": asked})
    (root / "questions" / "train.json").write_text(json.dumps(questions[::-1], indent=2))
    return root


SOURCES: dict[str, Callable[[Path, int], Path]] = {
    "cjepa-slots": cjepa_slots,
    "clevrer": clevrer,
    "dino-wm": dino_wm,
    "lerobot": lerobot_v3,
    "swm-hdf5": swm_hdf5,
    "swm-lance": swm_lance,
    "swm-video": swm_video,
}
FORMATS = [cls.name for cls in concrete_subclasses("cjepa.data.converters", Converter)]
EVERY_FORMAT = pytest.mark.parametrize("name", FORMATS)
