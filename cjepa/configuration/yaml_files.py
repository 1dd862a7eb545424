"""The one reader of YAML: bounds on size, depth and repetition are checked before anything is built."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cjepa.configuration.plain_values import unreadable
from cjepa.errors import UserError

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 50
"""Lists and mappings inside each other, aliases followed."""
MAX_VALUES = 100_000
"""Values of a file, those that an alias repeats counted each time."""
MAX_CLASSES = 500
"""Class paths of a file, counted as values are: the parser of commands looks at each of them several times."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What PyYAML raises for `!!bool maybe`, an integer of 5,000 digits and the like."""


def read_yaml(path: str | Path) -> Any:
    """What a YAML file says.

    Raises:
        UserError: no such file, not UTF-8, or what :func:`parse_yaml` refuses.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            text = file.read(4 * MAX_CHARACTERS + 1).decode()
        return parse_yaml(text)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: not readable ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None


def given_configs(words: Sequence[str]) -> list[Path]:
    """The files that a command line gives as ``-c`` or ``--config``, in order; it may also give YAML itself."""
    given = []
    for word, after in zip(words, [*words[1:], ""], strict=False):  # there may be no word
        option, equals, value = word.partition("=")
        if option in ("-c", "--config"):
            given.append(value if equals else after)
    return [Path(value) for value in given if len(value) < 1000 and Path(value).is_file()]


def parse_yaml(text: str, load: Callable[[str], Any] | None = None) -> Any:
    """What a YAML text says.

    Args:
        text: one document.
        load: builds the values, with PyYAML; its safe loader by default.

    Raises:
        yaml.YAMLError: not YAML; a key that stands twice in a mapping; an alias inside of what it names; beyond one of
            the limits above; a value that Python cannot hold, or an integer beyond 64 bits.
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"longer than {MAX_CHARACTERS:,} characters")
    _check_bounds(text)
    _check_keys(yaml.compose(text, Loader=_LOADER))
    try:
        value = yaml.load(text, Loader=_LOADER) if load is None else load(text)
    except _UNREADABLE as error:
        raise yaml.YAMLError(unreadable(error)) from error
    _check_integers(value)
    return value


@dataclass
class _Collection:
    anchor: str | None = None
    values: int = 1
    depth: int = 1
    classes: int = 0


def _check_bounds(text: str) -> None:
    """Measure what the text would become from its events alone, without building it."""
    around = [_Collection()]
    anchored: dict[str, _Collection] = {}  # finished ones
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            around.append(_Collection(event.anchor))
            anchored.pop(event.anchor, None)
            if len(around) > MAX_DEPTH + 1:
                raise yaml.YAMLError(f"deeper than {MAX_DEPTH} lists or mappings inside each other")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            part = around.pop()
        elif isinstance(event, yaml.ScalarEvent):
            part = _Collection(event.anchor, depth=0, classes=int(event.value == "class_path"))
        elif isinstance(event, yaml.AliasEvent):
            part = anchored.get(event.anchor)
            if part is None:
                raise yaml.YAMLError(f"the alias *{event.anchor} stands inside of what it names, or names nothing")
        else:
            continue
        if part.anchor:
            anchored[part.anchor] = part
        _include(around[-1], part)


def _include(whole: _Collection, part: _Collection) -> None:
    whole.values += part.values
    whole.classes += part.classes
    whole.depth = max(whole.depth, part.depth + 1)
    if whole.values > MAX_VALUES or whole.depth > MAX_DEPTH + 1:
        limits = f"{MAX_VALUES:,} values, {MAX_DEPTH} lists or mappings inside each other"
        raise yaml.YAMLError(f"its aliases make it too large (the limits are {limits})")
    if whole.classes > MAX_CLASSES:
        raise yaml.YAMLError(f"more than {MAX_CLASSES} class paths")


def _check_keys(root: yaml.Node | None) -> None:
    for node in _nodes(root):
        if not isinstance(node, yaml.MappingNode):
            continue
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (key.tag, key.value) in seen:
                raise yaml.YAMLError(f"the key {key.value!r} stands twice, again in line {key.start_mark.line + 1}")
            seen.add((key.tag, key.value))


def _nodes(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """Every node once, however many aliases name it."""
    waiting, seen = [root] if root else [], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _check_integers(value: Any) -> None:
    if isinstance(value, dict):
        for key, entry in value.items():
            _check_integers(key)
            _check_integers(entry)
    elif isinstance(value, list | tuple | set):
        for entry in value:
            _check_integers(entry)
    elif isinstance(value, int) and abs(value) >= 2**64:
        raise yaml.YAMLError("an integer beyond 64 bits")
