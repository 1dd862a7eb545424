"""LeRobot datasets, versions 2.x and 3.0: Parquet tables of numbers, videos (or pictures) of each camera."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cjepa.configuration.class_paths import optional
from cjepa.configuration.plain_values import check_mapping
from cjepa.data.converters.base import Converter, ReadEpisode
from cjepa.data.converters.lerobot_meta import (
    Record,
    check_frame_rate,
    check_row_order,
    check_stretches,
    read_info,
    stretch,
    whole,
)
from cjepa.data.converters.tables import BATCH_ROWS, RowReader, clear_errors, images, numbers
from cjepa.data.converters.video import VideoReader
from cjepa.data.store.episodes import Episode
from cjepa.errors import UserError
from cjepa.files import parse_json

if TYPE_CHECKING:
    import pyarrow as pa

_RENAMED = {
    "observation.state": "proprio",
    "observation.environment_state": "state",
    "next.reward": "reward",
    "next.done": "terminated",
}
_BOOKKEEPING = ("episode_index", "frame_index", "index")
_PICTURES = ("video", "image")
_NO_CAMERA = "none"
_OTHER_CAMERA = f"choose another camera, or {_NO_CAMERA}, with --camera"


class LeRobot(Converter):
    """``observation.state`` becomes ``proprio``, ``observation.environment_state`` ``state``, ``next.reward``
    ``reward``, ``next.done`` ``terminated`` and one camera ``pixels``; other numbers keep their names.

    Args:
        source: the folder with ``meta/``, ``data/`` and ``videos/``.
        image_size: side of the square frames, 0 for that of the videos.
        camera: the camera that becomes ``pixels``, if there are several; "none" leaves all of them out.
    """

    name = "lerobot"

    def __init__(self, source: Path, image_size: int = 0, camera: str = ""):
        super().__init__(source)
        self.image_size = image_size
        self.parquet = optional("pyarrow.parquet", "lerobot")
        self.info = read_info(source / "meta" / "info.json")
        dtypes = self.info.dtypes
        cameras = [name for name, dtype in dtypes.items() if dtype in _PICTURES]
        if camera in self.info.depth_cameras:
            raise UserError(f"{source}: --camera {camera}: depth cannot become pixels; {_OTHER_CAMERA}")
        self.camera = _choose_camera(source, [name for name in cameras if name not in self.info.depth_cameras], camera)
        self.camera_is_video = dtypes.get(self.camera) == "video"
        if self.camera_is_video and "video_path" not in self.info.templates:
            raise UserError(f"{self.info.path}: no video_path, though {self.camera} is a video")
        self.left_out = [name for name, dtype in dtypes.items() if dtype == "string"]
        self.left_out += [name for name in cameras if name != self.camera]
        self.columns = [name for name in dtypes if name not in (*cameras, *self.left_out, *_BOOKKEEPING)]
        self.has_frame_index = "frame_index" in dtypes
        _check_names(self.info.path, self.columns, bool(self.camera))
        self._video: VideoReader | None = None

    @property
    def total_frames(self) -> int:
        return self.info.total_frames

    def attributes(self) -> dict[str, Any]:
        used = {new: old for old, new in _RENAMED.items() if old in self.columns}
        return {
            "source_version": self.info.version,
            "source_columns": used | ({"pixels": self.camera} if self.camera else {}),
            "env_steps_per_second": self.info.fps,
        }

    def episodes(self) -> Iterator[tuple[str, ReadEpisode]]:
        path, rows, frames = None, None, 0
        try:
            records = list(self._records())  # a few numbers each
            check_stretches(records)
            for record in records:
                if record.table != path:
                    path, rows = record.table, self._rows(record.table)
                yield f"episode {record.index}", partial(self._episode, record, rows.read(record.length))
                frames += record.length
        finally:
            self._close_video()
        if frames != self.total_frames:
            listed = f"the episodes listed in meta/ have {frames} frames, but info.json states {self.total_frames}"
            raise UserError(f"{self.source}: {listed}; is the data set complete?")

    def _episode(self, record: Record, table: "pa.Table") -> Episode:
        where = f"{record.table}: episode {record.index}"
        if set(table["episode_index"].to_pylist()) != {record.index}:
            raise UserError(f"{where}: the next {record.length} rows belong to another episode than meta/ states")
        columns = {_RENAMED.get(name, name): numbers(f"{where}, {name!r}", table[name]) for name in self.columns}
        if self.has_frame_index:
            frames_T = numbers(f"{where}, 'frame_index'", table["frame_index"]).reshape(-1)
            check_row_order(where, "frame_index", frames_T)
        if self.camera_is_video:
            if "timestamp" in columns:  # by which LeRobot itself finds the frames
                check_row_order(where, "timestamp", columns["timestamp"].reshape(-1) * self.info.fps)
            columns["pixels"] = self._frames(record)
        elif self.camera:
            cells = (value.as_py() for value in table[self.camera])
            blobs = (cell.get("bytes") if isinstance(cell, dict) else cell for cell in cells)
            columns["pixels"] = images(f"{where}, {self.camera!r}", blobs, self.image_size, _OTHER_CAMERA)
        return columns

    def _frames(self, record: Record) -> np.ndarray:
        start = record.first_frame or 0
        if self._video is None or self._video.path != record.video or self._video.position > start:
            self._close_video()
            self._video = VideoReader(record.video, self.image_size)
            if record.first_frame is not None:
                check_frame_rate(record.video, self._video.fps, self.info.fps)
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
        wanted = [*self.columns, "episode_index", *["frame_index"] * self.has_frame_index]
        wanted += [self.camera] if self.camera and not self.camera_is_video else []
        return RowReader(str(path), self._batches(path, wanted))

    def _batches(self, path: Path, columns: list[str]) -> Iterator:
        if not path.is_file():
            raise UserError(f"{path}: no such file, but meta/ lists it; is the data set complete?")
        with clear_errors(path, "Parquet file"), self.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if twice := sorted({name for name in columns if names.count(name) > 1}):
                raise UserError(f"{path}: two columns {twice[0]!r}; keep the one that is meant")
            if missing := sorted(set(columns) - set(names)):
                raise UserError(f"{path}: no column {missing[0]!r}, it has {', '.join(names)}")
            yield from file.iter_batches(BATCH_ROWS, columns=columns)

    def _records(self) -> Iterator[Record]:
        return self._records_v3() if self.info.version.startswith("v3.") else self._records_v2()

    def _records_v2(self) -> Iterator[Record]:
        """One file an episode, listed in ``meta/episodes.jsonl``."""
        path = self.source / "meta" / "episodes.jsonl"
        if not path.is_file():
            raise UserError(f"{path}: no such file; version 2.x lists its episodes there")
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, 1):
                where = f"{path}, line {number}"
                entry = check_mapping(where, parse_json(where, line), {})
                index = whole(where, "episode_index", entry.get("episode_index"), 0)
                length = whole(where, "length", entry.get("length"), 1)
                place = {"episode_index": index, "episode_chunk": index // self.info.chunks_size}
                table, video = self.info.place("data_path", **place), None
                if self.camera_is_video:
                    video = self.info.place("video_path", **place, video_key=self.camera)
                yield Record(index, length, table, video, None)

    def _records_v3(self) -> Iterator[Record]:
        """Many episodes a file, listed in ``meta/episodes``."""
        own = f"videos/{self.camera}/"
        columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
        if self.camera_is_video:
            columns += [own + name for name in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")]
        files = sorted((self.source / "meta" / "episodes").glob("*/*.parquet"))
        if not files:
            raise UserError(
                f"{self.source / 'meta' / 'episodes'}: no Parquet files; version 3.0 lists its episodes there"
            )
        for path in files:
            for entry in (entry for batch in self._batches(path, columns) for entry in batch.to_pylist()):
                yield self._record_v3(path, entry)

    def _record_v3(self, path: Path, entry: dict[str, Any]) -> Record:
        """An episode from its row in ``meta/episodes``; its stretch of the video is as long as its table."""
        where = f"{path}: episode {whole(path, 'episode_index', entry['episode_index'], 0)}"
        length = whole(where, "length", entry["length"], 1)
        table, video, first = self.info.place("data_path", **_place(where, entry, "data/")), None, None
        if self.camera_is_video:
            own = f"videos/{self.camera}/"
            video = self.info.place("video_path", **_place(where, entry, own), video_key=self.camera)
            stamps = (entry[own + name] for name in ("from_timestamp", "to_timestamp"))
            first, frames = stretch(where, *stamps, self.info.fps)
            if frames != length:
                raise UserError(
                    f"{where}: its stretch of {video} has {frames} frames, its table {length} rows; the dataset pairs "
                    "frames with other rows, as when a discarded take stays in the video"
                )
        return Record(entry["episode_index"], length, table, video, first)


def _place(where: str, entry: dict[str, Any], prefix: str) -> dict[str, int]:
    return {name: whole(where, prefix + name, entry[prefix + name], 0) for name in ("chunk_index", "file_index")}


def _check_names(path: Path, columns: list[str], pixels: bool) -> None:
    """Refuse two features that would become one column."""
    names = [_RENAMED.get(name, name) for name in columns] + ["pixels"] * pixels
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}: two features become the column {twice[0]!r}; rename one of them in the source")


def _choose_camera(source: Path, cameras: list[str], camera: str) -> str:
    if camera == _NO_CAMERA:
        return ""
    if camera and camera not in cameras:
        known = ", ".join([*cameras, _NO_CAMERA])
        raise UserError(f"{source}: --camera {camera}: no such camera; expected one of {known}")
    if not camera and len(cameras) > 1:
        raise UserError(f"{source}: contains several cameras; choose one with --camera: {', '.join(cameras)}")
    return camera or (cameras[0] if cameras else "")
