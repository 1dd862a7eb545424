"""LeRobot datasets, versions 2.x and 3.0: Parquet tables of numbers, videos (or pictures) of each camera."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cjepa.data.converters.base import Converter
from cjepa.data.converters.tables import BATCH_ROWS, RowReader, clear_errors, images, numbers, optional
from cjepa.data.converters.video import VideoReader
from cjepa.data.store.episode_file import Episode
from cjepa.errors import UserError

_RENAMED = {
    "observation.state": "proprio",
    "observation.environment_state": "state",
    "next.reward": "reward",
    "next.done": "terminated",
}
_BOOKKEEPING = ("episode_index", "frame_index", "index")
_PICTURES = ("video", "image")


class _Record(NamedTuple):
    """Where one episode is."""

    index: int
    length: int
    table: Path
    video: Path | None
    first_frame: int | None
    """In the video; None when that holds this episode alone."""


class LeRobot(Converter):
    """``observation.state`` becomes ``proprio``, ``observation.environment_state`` ``state``, ``next.reward``
    ``reward``, ``next.done`` ``terminated`` and one camera ``pixels``; other numbers keep their names.

    Args:
        source: the folder with ``meta/``, ``data/`` and ``videos/``.
        image_size: side of the square frames, 0 for that of the videos.
        camera: the camera that becomes ``pixels``, if there are several.
    """

    name = "lerobot"

    def __init__(self, source: Path, image_size: int = 0, camera: str = ""):
        super().__init__(source)
        self.image_size = image_size
        self.parquet = optional("pyarrow.parquet", "lerobot")
        self.info = _info(source / "meta" / "info.json")
        features = self.info["features"]
        cameras = [name for name, feature in features.items() if feature["dtype"] in _PICTURES]
        self.camera = _choose_camera(source, cameras, camera)
        self.camera_is_video = bool(self.camera) and features[self.camera]["dtype"] == "video"
        self.left_out = [name for name, feature in features.items() if feature["dtype"] == "string"]
        self.left_out += [name for name in cameras if name != self.camera]
        self.columns = [name for name in features if name not in (*cameras, *self.left_out, *_BOOKKEEPING)]
        self._video: VideoReader | None = None

    @property
    def total_frames(self) -> int:
        return self.info["total_frames"]

    def attributes(self) -> dict[str, Any]:
        used = {new: old for old, new in _RENAMED.items() if old in self.columns}
        return {
            "source_version": self.info["codebase_version"],
            "source_columns": used | ({"pixels": self.camera} if self.camera else {}),
            "env_steps_per_second": self.info["fps"],
        }

    def episodes(self) -> Iterator[tuple[str, Episode]]:
        path, rows, frames = None, None, 0
        try:
            for record in self._records():
                if record.table != path:
                    path, rows = record.table, self._rows(record.table)
                yield f"episode {record.index}", self._episode(record, rows)
                frames += record.length
        finally:
            self._close_video()
        if frames != self.total_frames:
            listed = f"the episodes listed in meta/ have {frames} frames, but info.json states {self.total_frames}"
            raise UserError(f"{self.source}: {listed}; is the data set complete?")

    def _episode(self, record: _Record, rows: RowReader) -> Episode:
        where = f"{record.table}: episode {record.index}"
        if record.length < 1:
            raise UserError(f"{where}: its length is {record.length}, expected at least 1")
        table = rows.read(record.length)
        if set(table["episode_index"].to_pylist()) != {record.index}:
            raise UserError(f"{where}: the next {record.length} rows belong to another episode than meta/ states")
        columns = {_RENAMED.get(name, name): numbers(f"{where}, {name!r}", table[name]) for name in self.columns}
        if self.camera_is_video:
            columns["pixels"] = self._frames(record)
        elif self.camera:
            cells = (value.as_py() for value in table[self.camera])
            blobs = (cell.get("bytes") if isinstance(cell, dict) else cell for cell in cells)
            columns["pixels"] = images(f"{where}, {self.camera!r}", blobs, self.image_size)
        return columns

    def _frames(self, record: _Record) -> np.ndarray:
        start = record.first_frame or 0
        if self._video is None or self._video.path != record.video or self._video.position > start:
            self._close_video()
            self._video = VideoReader(record.video, self.image_size)
        self._video.skip_to(start)
        frames = self._video.read(record.length)
        if record.first_frame is None and not self._video.at_end():
            raise UserError(f"{record.video}: more than {record.length} frames, the length of episode {record.index}")
        return frames

    def _close_video(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None

    def _rows(self, path: Path) -> RowReader:
        wanted = [*self.columns, "episode_index", *([self.camera] if self.camera and not self.camera_is_video else [])]
        return RowReader(str(path), self._batches(path, wanted))

    def _batches(self, path: Path, columns: list[str]) -> Iterator:
        if not path.is_file():
            raise UserError(f"{path}: no such file, but meta/ lists it; is the data set complete?")
        with clear_errors(path, "Parquet file"), self.parquet.ParquetFile(path) as file:
            if missing := sorted(set(columns) - set(file.schema_arrow.names)):
                raise UserError(f"{path}: no column {missing[0]!r}, it has {', '.join(file.schema_arrow.names)}")
            yield from file.iter_batches(BATCH_ROWS, columns=columns)

    def _records(self) -> Iterator[_Record]:
        return self._records_v3() if self.info["codebase_version"].startswith("v3.") else self._records_v2()

    def _records_v2(self) -> Iterator[_Record]:
        """One file an episode, listed in ``meta/episodes.jsonl``."""
        path = self.source / "meta" / "episodes.jsonl"
        if not path.is_file():
            raise UserError(f"{path}: no such file; version 2.x lists its episodes there")
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    entry = json.loads(line)
                    index, length = int(entry["episode_index"]), int(entry["length"])
                except (ValueError, KeyError, TypeError):
                    raise UserError(f"{path}, line {number}: expected episode_index and length") from None
                place = {"episode_index": index, "episode_chunk": index // self.info["chunks_size"]}
                video = self._path("video_path", place | {"video_key": self.camera}) if self.camera_is_video else None
                yield _Record(index, length, self._path("data_path", place), video, None)

    def _records_v3(self) -> Iterator[_Record]:
        """Many episodes a file, listed in ``meta/episodes``."""
        own = f"videos/{self.camera}/"
        columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
        if self.camera_is_video:
            columns += [own + name for name in ("chunk_index", "file_index", "from_timestamp")]
        files = sorted((self.source / "meta" / "episodes").glob("*/*.parquet"))
        if not files:
            raise UserError(
                f"{self.source / 'meta' / 'episodes'}: no Parquet files; version 3.0 lists its episodes there"
            )
        for path in files:
            for entry in (entry for batch in self._batches(path, columns) for entry in batch.to_pylist()):
                if missing := [name for name in columns if entry[name] is None]:
                    raise UserError(f"{path}: {missing[0]} of episode {entry['episode_index']} is missing")
                table, video, first = self._path("data_path", _place(entry, "data/")), None, None
                if self.camera_is_video:
                    video = self._path("video_path", _place(entry, own) | {"video_key": self.camera})
                    first = round(entry[own + "from_timestamp"] * self.info["fps"])
                yield _Record(entry["episode_index"], entry["length"], table, video, first)

    def _path(self, template: str, place: dict[str, Any]) -> Path:
        try:
            path = Path(self.info[template].format(**place))
        except (KeyError, IndexError, ValueError, AttributeError, TypeError):
            raise UserError(
                f"{self.source / 'meta' / 'info.json'}: {template} is not a LeRobot path template"
            ) from None
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{self.source / 'meta' / 'info.json'}: {template} points outside the data set ({path})")
        return self.source / path


def _place(entry: dict[str, Any], prefix: str) -> dict[str, int]:
    return {name: entry[prefix + name] for name in ("chunk_index", "file_index")}


def _info(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder of a LeRobot dataset, which contains meta/")
    try:
        info = json.loads(path.read_text())
        version = info["codebase_version"]
        info |= {key: int(info[key]) for key in ("total_frames", "chunks_size")}
        info |= {"fps": float(info["fps"]), "data_path": str(info["data_path"])}
        for feature in info["features"].values():
            feature["dtype"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a LeRobot file, or damaged ({type(error).__name__}: {error})") from None
    if not str(version).startswith(("v2.", "v3.")):
        raise UserError(
            f"{path}: codebase_version is {version}, expected v2.x or v3.x; convert older data sets with LeRobot"
        )
    return info


def _choose_camera(source: Path, cameras: list[str], camera: str) -> str:
    if camera and camera not in cameras:
        raise UserError(f"{source}: --camera {camera}: no such camera; expected one of {', '.join(cameras) or 'none'}")
    if not camera and len(cameras) > 1:
        raise UserError(f"{source}: contains several cameras; choose one with --camera: {', '.join(cameras)}")
    return camera or (cameras[0] if cameras else "")
