"""Small LeRobot datasets, laid out as lerobot 0.3 (version 2.1) and 0.4 (version 3.0) write them."""

import json
from pathlib import Path

import numpy as np
import pytest

from cjepa.data.converters.base import convert, open_source
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.reporting.videos import write_video
from tests.conftest import ignore_progress
from tests.data.converters.episodes import FPS, SIZE, an_episode


def lerobot_features(camera: dict) -> dict:
    """``features`` of ``meta/info.json`` for Push-T."""
    numbers = {"observation.state": ("float32", [2]), "action": ("float32", [2]), "next.reward": ("float32", [1])}
    numbers |= {"next.done": ("bool", [1]), "timestamp": ("float32", [1]), "frame_index": ("int64", [1])}
    numbers |= {name: ("int64", [1]) for name in ("episode_index", "index", "task_index")}
    features = {name: {"dtype": dtype, "shape": shape, "names": None} for name, (dtype, shape) in numbers.items()}
    return {"observation.image": {"shape": [SIZE, SIZE, 3], **camera}, **features}


def lerobot_rows(index: int, first_row: int) -> dict:
    """Columns of an episode's rows in the data files."""
    episode = an_episode(index)
    rows = len(episode["action"])
    done = np.arange(rows) == rows - 1
    return {
        "observation.state": list(episode["proprio"][:, :2]),
        "action": list(episode["action"]),
        "next.reward": np.arange(rows, dtype=np.float32) / 7,
        "next.done": done,
        "timestamp": (np.arange(rows) / FPS).astype(np.float32),
        "frame_index": np.arange(rows),
        "episode_index": np.full(rows, index),
        "index": np.arange(first_row, first_row + rows),
        "task_index": np.zeros(rows, np.int64),
    }


def lerobot_info(version: str, num_episodes: int, data: str, video: str | None, camera: dict) -> dict:
    lengths = [len(an_episode(index)["action"]) for index in range(num_episodes)]
    return {
        "codebase_version": version,
        "total_episodes": num_episodes,
        "total_frames": sum(lengths),
        "chunks_size": 1000,
        "fps": FPS,
        "data_path": data,
        "video_path": video,
        "features": lerobot_features(camera),
    }


def lerobot_v2(folder: Path, num_episodes: int) -> Path:
    """Version 2.1: a Parquet file and a video an episode."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    root = folder / "lerobot_v2"
    data, video = root / "data" / "chunk-000", root / "videos" / "chunk-000" / "observation.image"
    for path in (data, video, root / "meta"):
        path.mkdir(parents=True)
    lines, row = [], 0
    for index in range(num_episodes):
        columns = lerobot_rows(index, row)
        row += len(columns["index"])
        parquet.write_table(pa.table(columns), data / f"episode_{index:06d}.parquet")
        write_video(video / f"episode_{index:06d}.mp4", an_episode(index)["pixels"], FPS)
        lines.append(json.dumps({"episode_index": index, "tasks": ["push"], "length": len(columns["index"])}))
    (root / "meta" / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    info = lerobot_info(
        "v2.1",
        num_episodes,
        "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        {"dtype": "video"},
    )
    (root / "meta" / "info.json").write_text(json.dumps(info))
    return root


def lerobot_v3(folder: Path, num_episodes: int, episodes_a_file: int = 3) -> Path:
    """Version 3.0: several episodes a Parquet file and a video."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    root = folder / "lerobot_v3"
    places = ("data/chunk-000", "videos/observation.image/chunk-000", "meta/episodes/chunk-000")
    data, video, meta = (root / place for place in places)
    for path in (data, video, meta):
        path.mkdir(parents=True)
    entries, row = [], 0
    for file, start in enumerate(range(0, num_episodes, episodes_a_file)):
        indices = range(start, min(start + episodes_a_file, num_episodes))
        tables, first_frame = [], 0
        for index in indices:
            tables.append(pa.table(lerobot_rows(index, row)))
            length = len(tables[-1])
            place = {"chunk_index": 0, "file_index": file}
            stamps = {"from_timestamp": first_frame / FPS, "to_timestamp": (first_frame + length) / FPS}
            entry = {"episode_index": index, "tasks": ["push"], "length": length, "dataset_from_index": row}
            entry |= {f"data/{name}": value for name, value in place.items()}
            entry |= {f"videos/observation.image/{name}": value for name, value in (place | stamps).items()}
            entries.append(entry)
            row, first_frame = row + length, first_frame + length
        parquet.write_table(pa.concat_tables(tables), data / f"file-{file:03d}.parquet")
        pixels = np.concatenate([an_episode(index)["pixels"] for index in indices])
        write_video(video / f"file-{file:03d}.mp4", pixels, FPS)
    parquet.write_table(pa.Table.from_pylist(entries), meta / "file-000.parquet")
    info = lerobot_info(
        "v3.0",
        num_episodes,
        "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        {"dtype": "video"},
    )
    (root / "meta" / "info.json").write_text(json.dumps(info))
    return root


EPISODES = 5
VERSIONS = {"v2.1": lerobot_v2, "v3.0": lerobot_v3}
BOTH = pytest.mark.parametrize("version", VERSIONS)
DATA = {"v2.1": "data/chunk-000/episode_000001.parquet", "v3.0": "data/chunk-000/file-000.parquet"}
VIDEO = {
    "v2.1": "videos/chunk-000/observation.image/episode_000001.mp4",
    "v3.0": "videos/observation.image/chunk-000/file-000.mp4",
}


def converted(root, out, **options) -> EpisodeFile:
    return convert(open_source("lerobot", root, options), out, ignore_progress)


def edit_info(root, change) -> None:
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def edit_table(path, change) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = parquet.read_table(path).to_pydict()
    change(columns)
    parquet.write_table(pa.table(columns), path)
