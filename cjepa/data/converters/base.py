"""What all converters share: how a format is found, and how its episodes get into a file of ours."""

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import cjepa.data.converters as package
from cjepa.data.converters.columns import check_sizes, plain_column
from cjepa.data.store.episode_file import Episode, EpisodeFile, EpisodeWriter
from cjepa.errors import UserError
from cjepa.progress import Progress


class Converter(ABC):
    """One foreign format. To add one, subclass it in a file of this folder; ``cjepa convert --from`` then knows it.

    A constructor's arguments besides ``source`` are options of the command, of the same name and with a default.
    It refuses a source that it does not understand, and reads no more than it needs for that.

    Args:
        source: file or folder.
    """

    name: ClassVar[str]
    """As in ``--from``."""
    file_format: ClassVar[str] = "cjepa-episodes"
    """Or ``cjepa-tokens``."""
    placeholders: ClassVar[dict[str, int]] = {}
    """Columns where one row of an episode (0 the first, -1 the last) may hold NaN for "none": 0 is stored."""

    def __init__(self, source: Path):
        if not source.exists():
            raise UserError(f"{source}: no such file or folder")
        self.source = source
        self.left_out: list[str] = []
        """Columns of the source that our files cannot hold."""

    @property
    @abstractmethod
    def total_frames(self) -> int:
        """How many rows there will be, for the progress bar; an estimate where counting would take long."""

    @abstractmethod
    def episodes(self) -> Iterator[tuple[str, Episode]]:
        """Every episode in turn: what to call it in messages, and its columns."""

    def attributes(self) -> dict[str, Any]:
        """Provenance besides the source and its format."""
        return {}

    def extra_file(self, out: Path) -> Path | None:
        """Where to put what does not fit into ``out``, if there is such a thing."""
        return None

    def write_extra(self, path: Path) -> None:
        """Make that file; called after the last episode, for a path that does not exist."""
        raise NotImplementedError


def converters() -> dict[str, type[Converter]]:
    """Every format by its name."""
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)

    def walk(cls: type[Converter]) -> list[type[Converter]]:
        return [cls, *(found for child in cls.__subclasses__() for found in walk(child))]

    return {cls.name: cls for cls in walk(Converter) if not inspect.isabstract(cls)}


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
    taken = [option for option in inspect.signature(known[name]).parameters if option != "source"]
    given = {option: value for option, value in options.items() if value}
    for option in given:
        if option not in taken:
            fitting = ", ".join(f"--{other}" for other in taken) or "no options"
            raise UserError(f"--{option} does not apply to {name}, which takes {fitting}")
        if isinstance(given[option], int) and given[option] < 0:
            raise UserError(f"--{option} {given[option]}: expected 0 or more")
    return known[name](source, **given)


def convert(converter: Converter, out: Path, progress: Progress) -> EpisodeFile:
    """Write every episode of a source into ``out``, holding one at a time.

    Args:
        converter: of the source.
        out: the file to make.
        progress: advanced by the number of frames just done.

    Raises:
        UserError: ``out`` exists, or an episode is not what the format promises; nothing is left then.
    """
    extra = converter.extra_file(out)
    extra_so_far = None if extra is None else extra.with_name(f".{extra.name}.partial")
    _refuse_existing(out, extra)
    attributes = {"source": str(converter.source), "source_format": converter.name}
    first: Episode | None = None
    with EpisodeWriter(out, converter.file_format, attributes) as writer:
        for label, source in converter.episodes():
            episode = _plain_episode(converter, label, source)
            first = first or {name: values[:1].copy() for name, values in episode.items()}
            _check_like_first(f"{converter.source}: {label}", episode, first)
            writer.append(episode)
            progress.advance(len(next(iter(episode.values()))))
        if first is None:
            raise UserError(f"{converter.source}: contains no episodes")
        writer.attributes |= converter.attributes()  # which may depend on what was left out
        _refuse_existing(out, extra)  # a long conversion leaves time for another one
        if extra_so_far is not None:
            extra_so_far.unlink(missing_ok=True)  # of a run that was killed
            converter.write_extra(extra_so_far)
    if extra_so_far is not None:
        extra_so_far.rename(extra)
    return EpisodeFile(out)


def _refuse_existing(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and path.exists():
            raise UserError(f"{path} already exists; choose another name or delete it first")


def _plain_episode(converter: Converter, label: str, source: Episode) -> Episode:
    where = f"{converter.source}: {label}"
    if not source:
        raise UserError(f"{where}: contains no columns of numbers")
    lengths = {name: len(values) for name, values in source.items()}
    if len(set(lengths.values())) != 1 or not min(lengths.values()):
        raise UserError(f"{where}: columns have {lengths} rows; expected the same number in all columns, at least 1")
    episode = {
        name: plain_column(f"{where}, column {name!r}", name, values, converter.placeholders.get(name))
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
