"""What all converters share: how a format is found, and how its episodes get into a file of ours."""

import hashlib
import importlib
import inspect
import json
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cjepa.data.converters as package
from cjepa.data.converters.columns import check_sizes, plain_column
from cjepa.data.store.attributes import from_json
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episodes import Episode
from cjepa.data.store.parts import ResumableWriter, complete_file, parts_folder, write_part
from cjepa.errors import UserError
from cjepa.files import replacing
from cjepa.progress import Progress

ReadEpisode = Callable[[], Episode | None]


class ExtraFile(NamedTuple):
    """A second file that a conversion makes, after that of the episodes."""

    path: Path
    write: Callable[[Path, list[str]], None]
    """Makes it, given a path that does not exist yet, and the names of the first file's episodes in their order."""


class Converter(ABC):
    """One foreign format. To add one, subclass it in a file of this folder; ``cjepa convert --from`` then knows it.

    A constructor's arguments besides ``source`` are options of the command, of the same name and with a default.
    It refuses a source that it does not understand, and reads no more than it needs for that.

    Args:
        source: file or folder.

    Raises:
        UserError: there is no such source, or it is not of this format.
    """

    name: ClassVar[str]
    """As in ``--from``."""
    file_format: ClassVar[str] = "cjepa-episodes"
    """Or ``cjepa-tokens``."""
    placeholders: ClassVar[dict[str, int]] = {}
    """Columns where one row of an episode (0 the first, -1 the last) may hold NaN for "none": 0 is stored."""
    choosing: ClassVar[tuple[str, ...]] = ()
    """Options that decide which episodes there are, and nothing of what is in one."""

    def __init__(self, source: Path):
        if not source.exists():
            raise UserError(f"{source}: no such file or folder")
        self.source = source
        self.given: dict[str, Any] = {}
        """Options of the command."""
        self.left_out: list[str] = []
        """Columns of the source that our files cannot hold."""

    @property
    @abstractmethod
    def total_frames(self) -> int:
        """How many rows there will be, for the progress bar; an estimate where counting would take long."""

    @abstractmethod
    def episodes(self) -> Iterator[tuple[str, ReadEpisode]]:
        """Every episode in turn: what to call it in messages, and a function that reads its columns.

        The function is called before the next episode is asked for, or never: an interrupted conversion goes on with
        the episodes that are not finished. It returns None for an episode to leave out.
        """

    def files(self) -> Iterable[Path]:
        """What the episodes are made of: when one of these files changes, a conversion starts again."""
        return [self.source] if self.source.is_file() else self.source.rglob("*")

    def attributes(self) -> dict[str, Any]:
        """Provenance besides the source and its format."""
        return {}

    def extra_file(self, out: Path) -> ExtraFile | None:
        """What does not fit into ``out``, if there is such a thing; :meth:`attributes` then has ``episode_names``."""
        return None


def converters() -> dict[str, type[Converter]]:
    """Every format by its name."""
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)

    def walk(cls: type[Converter]) -> list[type[Converter]]:
        return [cls, *(found for child in cls.__subclasses__() for found in walk(child))]

    return {cls.name: cls for cls in walk(Converter) if hasattr(cls, "name")}


def open_source(name: str, source: Path, options: dict[str, Any]) -> Converter:
    """The converter of a format.

    Args:
        name: of the format.
        source: file or folder.
        options: of the constructor; those that are 0 or "" count as not given.

    Raises:
        UserError: there is no such format, it does not take an option, or the source is not of that format.
    """
    known = converters()
    if name not in known:
        raise UserError(f"--from {name}: no such format; expected one of {', '.join(sorted(known))}")
    if missing := sorted(known[name].__abstractmethods__):
        path = f"{known[name].__module__}.{known[name].__name__}"
        raise UserError(f"--from {name}: {path} is abstract: it lacks {', '.join(missing)}; add these methods")
    taken = [option for option in inspect.signature(known[name]).parameters if option != "source"]
    given = {option: value for option, value in options.items() if value}
    for option in given:
        if option not in taken:
            fitting = ", ".join(f"--{other}" for other in taken) or "no options"
            raise UserError(f"--{option} does not apply to {name}, which takes {fitting}")
        if isinstance(given[option], int) and given[option] < 0:
            raise UserError(f"--{option} {given[option]}: expected 0 or more")
    converter = known[name](source, **given)
    converter.given = given
    return converter


def convert(converter: Converter, out: Path, progress: Progress) -> EpisodeFile:
    """Write every episode of a source into ``out``, holding one at a time; nothing is done if this was done before.

    Args:
        converter: of the source.
        out: the file to make.
        progress: advanced by the number of frames just done.

    Raises:
        UserError: ``out`` is another file, or an episode is not what the format promises; the same command then uses
            the episodes that are finished.
    """
    job, edition, extra = _job(converter), _edition(converter, out), converter.extra_file(out)
    file = complete_file(out, job, None, edition=edition)
    if extra is not None and extra.path.exists():
        if file is None:
            raise UserError(f"{extra.path} already exists; choose another name or delete it first")
        return file
    with nullcontext() if extra is None else replacing(extra.path) as partial:
        if file is None:
            file = _write_episodes(converter, out, job, edition, progress)
        if partial is not None:
            extra.write(partial, from_json(file.path, file.attributes, "episode_names"))
    return file


def _write_episodes(converter: Converter, out: Path, job: str, edition: str, progress: Progress) -> EpisodeFile:
    attributes = {"source": str(converter.source), "source_format": converter.name}
    first: Episode | None = None
    with ResumableWriter(out, converter.file_format, attributes, job, edition=edition) as writer:
        for number, (label, read) in enumerate(converter.episodes()):
            where = f"{converter.source}: {label}"
            is_new = not writer.has(number)
            if is_new:
                source = read()
                if source is None:
                    continue
                episode = _plain_episode(where, source, converter.placeholders)
                _check_like_first(where, episode, first or episode)
                write_part(writer.part(number), episode)
            episode = writer.append_part(number)
            first = first or {name: values[:1].copy() for name, values in episode.items()}
            progress.advance(len(next(iter(episode.values()))), is_new)
        if first is None:
            raise UserError(f"{converter.source}: contains no episodes")
        writer.attributes.update(converter.attributes())  # which may depend on what was left out
        if converter.left_out:
            writer.attributes["left_out"] = converter.left_out
    return EpisodeFile(out)


def _job(converter: Converter) -> str:
    """All that decides the bytes of an episode, besides the source's files."""
    options = {name: value for name, value in converter.given.items() if name not in converter.choosing}
    return json.dumps(["convert", converter.name, str(converter.source), options], sort_keys=True)


def _edition(converter: Converter, out: Path) -> str:
    """Changes with any file of the source; ``out`` and its parts may be inside the source's folder."""
    digest = hashlib.sha256()
    for path in sorted(converter.files()):
        if path.is_file() and parts_folder(out) not in path.parents and path != out:
            found = path.stat()
            digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _plain_episode(where: str, source: Episode, placeholders: dict[str, int]) -> Episode:
    if not source:
        raise UserError(f"{where}: contains no columns of numbers")
    lengths = {name: len(values) for name, values in source.items()}
    if len(set(lengths.values())) != 1 or not min(lengths.values()):
        raise UserError(f"{where}: columns have {lengths} rows; expected the same number in all columns, at least 1")
    episode = {
        name: plain_column(f"{where}, column {name!r}", name, values, placeholders.get(name))
        for name, values in source.items()
    }
    check_sizes(where, episode)
    return episode


def _check_like_first(where: str, episode: Episode, first: Episode) -> None:
    if set(episode) != set(first):
        odd = sorted(set(episode) ^ set(first))
        raise UserError(f"{where}: columns {odd} are missing in some episodes; convert these into a separate file")
    for name, values in episode.items():
        expected = first[name]
        if (values.dtype, values.shape[1:]) != (expected.dtype, expected.shape[1:]):
            raise UserError(
                f"{where}, column {name!r}: rows are {values.dtype} {values.shape[1:]}, expected "
                f"{expected.dtype} {expected.shape[1:]} as in the first episode"
                + ("; give --image_size" if name == "pixels" else "")
            )
