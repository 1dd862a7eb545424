"""Files that are made episode by episode: a kill loses no episode that was finished.

Every finished episode is a file of its own in ``OUT.parts/`` until ``OUT`` is whole. Their names say which
job they are of, so that a later run uses, and deletes, its own and no others.
"""

import hashlib
import json
import logging
import math
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np

from cjepa import __version__
from cjepa.data.store.disk import clear_errors
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.store.episodes import Episode, Unavailable
from cjepa.data.store.hdf5 import refuse_address
from cjepa.errors import UserError
from cjepa.files import replacing
from cjepa.locks import only_process

PARTS = ".parts"
"""Ends the names of folders of finished episodes."""
_SUFFIXES = (".part", ".h5")
"""Of finished episodes: files of today, and HDF5 files of earlier versions, which are not read."""
_CHECKSUM_BYTES = _LENGTH_BYTES = 4

_log = logging.getLogger(__name__)


def complete_file(
    out: Path, job: str, num_episodes: int | None, resume: bool = True, edition: str = ""
) -> EpisodeFile | None:
    """``out`` if this very job made it, None if there is no such file yet.

    Args:
        out: the file to make.
        job: all that decides the bytes of its episodes.
        num_episodes: how many it is to have; None where the job alone decides it.
        resume: whether an earlier run's work may be used.
        edition: see :class:`ResumableWriter`.

    Raises:
        UserError: ``out`` is something else, or may not be used; it is never overwritten.
    """
    refuse_address(out)
    if not out.exists():
        return None
    mend = "choose another name or delete it first"
    try:
        file = EpisodeFile(out)
    except Unavailable:
        raise
    except UserError as error:
        raise UserError(f"{out} already exists; {mend} ({error})") from None
    if file.attributes.get("job") != _whole(job, edition) or num_episodes not in (None, len(file)):
        raise UserError(f"{out} already exists and was made by another command; {mend}")
    if not resume:
        raise UserError(f"{out} already exists and was made by this command; leave out --no_resume, or {mend}")
    _discard(parts_folder(out), _digest(job))  # a kill may have come between the last two steps
    return file


class ResumableWriter:
    """Makes ``out`` from finished episodes; used with ``with``, by one process at a time.

    Args:
        out: the file to make.
        format: ``cjepa-episodes`` or ``cjepa-tokens``.
        attributes: provenance.
        job: all that decides the bytes of an episode, besides its index.
        resume: use the episodes that an interrupted run of this job finished.
        edition: letters and digits that change with files that the episodes are made of; those of another edition are
            made again.

    Raises:
        UserError: another process is making ``out``, the disk is full, or nothing can be written there.
    """

    def __init__(
        self, out: Path, format: str, attributes: dict[str, Any], job: str, resume: bool = True, edition: str = ""
    ):
        self.out = out
        self.folder = parts_folder(out)
        self._merged = self.folder / "merged"
        self._format, self._attributes = format, {**attributes, "job": _whole(job, edition)}
        self._resume = resume
        self._job_digest = _digest(job)
        self._name_end = "-".join(["", *([edition] if edition else []), f"{self._job_digest}{_SUFFIXES[0]}"])

    def __enter__(self) -> "ResumableWriter":
        with ExitStack() as opened:
            opened.enter_context(self._locked_folder())
            self._refuse_existing()
            for path in (*self.folder.glob("*.partial*"), *self._useless()):
                path.unlink(missing_ok=True)  # a worker of a killed run may finish its episode just now
            self._writer = opened.enter_context(
                EpisodeWriter(self._merged, self._format, self._attributes, shown=self.out)
            )
            self._opened = opened.pop_all()
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        self._opened.__exit__(error_type, error, traceback)

    @contextmanager
    def _locked_folder(self) -> Iterator[None]:
        with ExitStack() as held:
            with clear_errors(self.out):
                held.enter_context(only_process(self.folder, f"making {self.out}"))
            try:
                yield
                self._refuse_existing()
                self._merged.rename(self.out)
                _discard(self.folder, self._job_digest)
            finally:
                _remove_without_parts(self.folder)

    def _refuse_existing(self) -> None:
        if self.out.exists():
            was = "was created by another process in the meantime"
            raise UserError(f"{self.out} {was}; choose another name or delete it")

    def _useless(self) -> list[Path]:
        """Parts of this job that may not be used."""
        own = _parts_of(self.folder, self._job_digest)
        old = [path for path in own if not path.name.endswith(self._name_end)]
        if old and self._resume:
            _log.warning("%s: the source has changed; the episodes done so far, %d, are made again", self.out, len(old))
        return old if self._resume else own

    @property
    def attributes(self) -> dict[str, Any]:
        """Provenance, which may be changed as long as the file is open."""
        return self._writer.attributes

    def part(self, number: int) -> Path:
        """Where an episode is kept once it is finished.

        Args:
            number: of the episode; those of the file may leave some out.
        """
        return self.folder / f"{number:07d}{self._name_end}"

    def has(self, number: int) -> bool:
        """Whether this episode is finished and undamaged."""
        return read_part(self.part(number)) is not None

    def append_part(self, number: int) -> Episode:
        """Add a finished episode to the file, and give it back."""
        return self.append_parts([number])[0]

    def append_parts(self, numbers: Sequence[int]) -> list[Episode]:
        """Add finished episodes to the file in this order, and give them back; quicker than one after the other."""
        episodes = [self._part(number) for number in numbers]
        self._writer.append(*episodes)
        return episodes

    def _part(self, number: int) -> Episode:
        episode = read_part(self.part(number))
        if episode is None:
            raise UserError(f"{self.part(number)} is damaged; repeat the command to make this episode again")
        return episode


def parts_folder(out: Path) -> Path:
    """Where the finished episodes of ``out`` are until it is whole."""
    return Path(f"{out}{PARTS}")


def refuse_unfinished(path: Path) -> None:
    """Say what there is of a file that is not whole yet; ``path`` is that file or the folder of its parts.

    Raises:
        UserError: it is unfinished.
    """
    folder = path if path.suffix == PARTS else parts_folder(path)
    if folder.is_dir() and (path == folder or not path.exists()):
        done, name = len(_finished(folder)), folder.stem
        mend = f"repeat the command that makes {name} to continue"
        raise UserError(f"{path}: unfinished, episodes done: {done}; {mend}")


def _whole(job: str, edition: str) -> str:
    return f"{job} {edition}".rstrip()


def _digest(job: str) -> str:
    return hashlib.sha256(f"{__version__} {job}".encode()).hexdigest()[:16]


def _parts_of(folder: Path, job_digest: str) -> list[Path]:
    return [path for path in _finished(folder) if path.stem.endswith(f"-{job_digest}")]


def _finished(folder: Path) -> list[Path]:
    return [path for suffix in _SUFFIXES for path in folder.glob(f"[0-9]*{suffix}")]


def _discard(folder: Path, job_digest: str) -> None:
    """Delete the parts of one job, and the folder unless it has parts of another."""
    for path in _parts_of(folder, job_digest):
        path.unlink(missing_ok=True)
    _remove_without_parts(folder)


def _remove_without_parts(folder: Path) -> None:
    if not _finished(folder):
        shutil.rmtree(folder, ignore_errors=True)


def write_part(path: Path, episode: Episode) -> None:
    """Store one finished episode, in one piece or not at all."""
    content = _packed(episode)
    with clear_errors(path), replacing(path, quick=True) as partial:
        partial.write_bytes(content + zlib.crc32(content).to_bytes(_CHECKSUM_BYTES))


def read_part(path: Path) -> Episode | None:
    """A finished episode, None if it is not there or damaged (by a power cut: parts are not forced to disk)."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    packed, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if zlib.crc32(packed).to_bytes(_CHECKSUM_BYTES) != checksum:
        return None
    return _unpacked(packed)


def _packed(episode: Episode) -> bytes:
    """An LZ4 frame: length of the header, header (JSON: name, dtype and shape of each column), bytes of each column.

    An HDF5 file in memory, or a zip file of arrays, would take several times as long to make and to read.
    """
    header = json.dumps([(name, values.dtype.str, values.shape) for name, values in episode.items()]).encode()
    columns = [values.tobytes() for values in episode.values()]
    return lz4.frame.compress(b"".join([len(header).to_bytes(_LENGTH_BYTES), header, *columns]))


def _unpacked(packed: bytes) -> Episode:
    content = lz4.frame.decompress(packed, return_bytearray=True)  # arrays on a bytearray can be written to
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES])
    episode = {}
    for name, dtype, shape in json.loads(content[_LENGTH_BYTES:start]):
        episode[name] = np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape)
        start += episode[name].nbytes
    return episode
