"""stable-worldmodel's video format: one ``.npz`` a column over all steps, one ``.mp4`` an episode and image column."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from cjepa.data.converters.base import Converter, ReadEpisode
from cjepa.data.converters.swm_hdf5 import INDEX, SwmHDF5, check_lengths
from cjepa.data.converters.video import VideoReader
from cjepa.data.store.episodes import Episode
from cjepa.errors import UserError

_DAMAGE = (zipfile.BadZipFile, zlib.error, RuntimeError)  # RuntimeError: encrypted, or compressed in an unknown way


class SwmVideo(Converter):
    """``ep_len.npz``, ``ep_offset.npz``, ``<column>.npz`` and ``<image column>/ep_0.mp4``.

    Args:
        source: the folder.
        image_size: side of the square frames, 0 for that of the videos.
    """

    name = "swm-video"
    placeholders = SwmHDF5.placeholders

    def __init__(self, source: Path, image_size: int = 0):
        super().__init__(source)
        self.image_size = image_size
        self.lengths, offsets = (NpzRows(source / f"{name}.npz").read_all() for name in INDEX)
        check_lengths(source, self.lengths)
        if offsets.tolist() != (np.cumsum(self.lengths) - self.lengths).tolist():
            raise UserError(f"{source / 'ep_offset.npz'}: offsets do not match the lengths in ep_len.npz")
        self.tables = [path for path in sorted(source.glob("*.npz")) if path.stem not in INDEX]
        self.videos = [path for path in sorted(source.iterdir()) if path.is_dir() and any(path.glob("*.mp4"))]

    @property
    def total_frames(self) -> int:
        return int(self.lengths.sum())

    def episodes(self) -> Iterator[tuple[str, ReadEpisode]]:
        columns = {}
        for path in self.tables:
            rows = NpzRows(path)
            if rows.count != self.total_frames:
                raise UserError(f"{path}: {rows.count} rows, but the episodes have {self.total_frames} in all")
            if rows.dtype.kind in "biuf":
                columns[path.stem] = rows
            else:
                self.left_out.append(path.stem)
        for index, length in enumerate(self.lengths.tolist()):
            rows = {name: column.read(length) for name, column in columns.items()}
            yield f"episode {index}", partial(self._episode, index, rows)

    def _episode(self, index: int, rows: Episode) -> Episode:
        length, episode = int(self.lengths[index]), dict(rows)
        for folder in self.videos:
            with VideoReader(folder / f"ep_{index}.mp4", self.image_size) as video:
                episode[folder.name] = video.read(length)
                if not video.at_end():
                    raise UserError(f"{video.path}: more than {length} frames, the length of episode {index}")
        return episode


class NpzRows:
    """The array of an ``.npz`` file, row by row from the front, without ever holding all of it.

    Args:
        path: as ``numpy.savez(path, array)`` writes it.

    Raises:
        UserError: not such a file, or it asks for a pickle.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise UserError(f"{path}: no such file; expected ep_len.npz, ep_offset.npz and one .npz per column")
        try:
            self._stream = zipfile.ZipFile(path).open("arr_0.npy")
            version = np.lib.format.read_magic(self._stream)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, self.dtype = reader(self._stream)
        except (OSError, KeyError, ValueError, MemoryError, *_DAMAGE) as error:
            raise UserError(f"{path}: not an .npz file with one array ({error})") from None
        if fortran or not shape:
            raise UserError(f"{path}: expected an array in C order with one row per env step, got shape {shape}")
        self.count, self._row = shape[0], shape[1:]

    def read(self, count: int) -> np.ndarray:
        """The next ``count`` rows."""
        size = count * math.prod(self._row) * self.dtype.itemsize
        try:
            content = self._stream.read(size)
        except (OSError, OverflowError, *_DAMAGE) as error:
            raise UserError(f"{self.path}: damaged ({error})") from None
        if len(content) < size:
            raise UserError(f"{self.path}: damaged, ends too early")
        return np.frombuffer(content, self.dtype).reshape(count, *self._row)

    def read_all(self) -> np.ndarray:
        """Every row; a list of whole numbers is expected."""
        if self.dtype.kind not in "iu" or self._row:
            raise UserError(f"{self.path}: {self.dtype} {(self.count, *self._row)}, expected a list of integers")
        return self.read(self.count)
