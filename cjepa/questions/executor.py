"""Runs CLEVRER's question programs on the events of a scene.

A program is a list of words in postfix order: operations take their arguments from a stack, other words are put there.
The operations are those of Yi et al. (2020), table 4, but for the ones that need a frame or a direction of motion.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from cjepa.questions.stories import ASKED_WORDS, Event, Story, ancestors


class Unanswerable(Exception):
    """A program asks for an object or an event that the scene does not have."""


class _Operation(NamedTuple):
    arguments: int
    run: Callable[..., Any]
    """Takes the story, then the arguments."""


def answer(program: Sequence[str], story: Story) -> str:
    """The answer to a descriptive question: a word, a number, ``yes`` or ``no``.

    Raises:
        Unanswerable: there is no single such object or event, or the program has an unknown operation.
    """
    found = _run(program, story)
    if isinstance(found, bool):
        return "yes" if found else "no"
    return str(found)


def is_correct(choice: Sequence[str], question: Sequence[str], story: Story) -> bool:
    """Whether an option is correct.

    Args:
        choice: program of the option: an object, or events.
        question: program of the question: events.
        story: of the scene.

    Raises:
        Unanswerable: see :func:`answer`.
    """
    return bool(_run([*choice, *question, "belong_to"], story))


def _run(program: Sequence[str], story: Story) -> Any:
    stack: list[Any] = []
    for word in program:
        operation = _OPERATIONS.get(word)
        if operation is None:
            stack.append(word)
            continue
        if len(stack) < operation.arguments:
            raise Unanswerable(f"{word} lacks arguments in {' '.join(program)}")
        first = len(stack) - operation.arguments
        arguments, stack = stack[first:], stack[:first]
        try:
            stack.append(operation.run(story, *arguments))
        except (TypeError, AttributeError, KeyError) as error:  # a word where an object should be, and the like
            raise Unanswerable(f"{word} cannot take its arguments in {' '.join(program)}") from error
    if len(stack) != 1:
        raise Unanswerable(f"{len(stack)} results of {' '.join(program)}")
    return stack[0]


def _unique(story: Story, found: Sequence[Any]) -> Any:
    if len(found) != 1:
        raise Unanswerable(f"{len(found)} found, expected one")
    return found[0]


def _filter_word(name: str) -> Callable[[Story, Sequence[int], str], list[int]]:
    return lambda story, bodies, word: [body for body in bodies if story.words[body][name] == word]


def _query(name: str) -> Callable[[Story, int], str]:
    return lambda story, body: story.words[body][name]


def _filter_kind(kind: str) -> Callable[[Story, Sequence[Event], int | Sequence[int]], list[Event]]:
    def filtered(story: Story, events: Sequence[Event], bodies: int | Sequence[int]) -> list[Event]:
        asked = {bodies} if isinstance(bodies, int) else set(bodies)
        return [event for event in events if event.kind == kind and asked & set(event.bodies)]

    return filtered


def _filter_order(story: Story, events: Sequence[Event], order: str) -> Event:
    place = {"first": 0, "second": 1, "last": -1}[order]
    if len(events) <= max(place, 0):
        raise Unanswerable(f"no {order} event")
    return events[place]


def _get_col_partner(story: Story, event: Event, body: int) -> int:
    return _unique(story, [other for other in event.bodies if other != body])


def _get_counterfact(story: Story, body: int) -> Sequence[Event]:
    if body not in story.without:
        raise Unanswerable("the object is not there at the moment of removal")
    return story.without[body]


def _all_events(story: Story) -> list[Event]:
    return [*story.seen, *story.unseen, *(event for events in story.without.values() for event in events)]


def _belong_to(story: Story, asked: int | Sequence[Event], events: Iterable[Event]) -> bool:
    """An object belongs to events if it takes part in one; an event, if one of the same kind and objects is there."""
    if isinstance(asked, int):
        return any(asked in event.bodies for event in events)
    return bool({event.what for event in asked} & {event.what for event in events})


_OPERATIONS = {
    "objects": _Operation(0, lambda story: list(story.words)),
    "events": _Operation(0, lambda story: list(story.seen)),
    "unseen_events": _Operation(0, lambda story: list(story.unseen)),
    "all_events": _Operation(0, _all_events),
    "unique": _Operation(1, _unique),
    "count": _Operation(1, lambda story, found: len(found)),
    "exist": _Operation(1, lambda story, found: bool(found)),
    "filter_in": _Operation(2, _filter_kind("enter")),
    "filter_out": _Operation(2, _filter_kind("exit")),
    "filter_collision": _Operation(2, _filter_kind("collision")),
    "filter_order": _Operation(2, _filter_order),
    "filter_ancestor": _Operation(1, lambda story, event: ancestors(event, story.seen)),
    "get_object": _Operation(1, lambda story, event: _unique(story, event.bodies)),
    "get_col_partner": _Operation(2, _get_col_partner),
    "get_counterfact": _Operation(1, _get_counterfact),
    "belong_to": _Operation(2, _belong_to),
    **{f"filter_{name}": _Operation(2, _filter_word(name)) for name in ASKED_WORDS},
    **{f"query_{name}": _Operation(1, _query(name)) for name in ASKED_WORDS},
}


def told_apart(story: Story) -> dict[int, list[str]]:
    """Words that tell an object from all others, by object; one that has no such words is left out.

    The color where it suffices: shapes and materials tell a little of what an object will do.
    """
    found: dict[int, list[str]] = {}
    for names in (("color",), ("color", "shape"), ASKED_WORDS):
        said = {body: tuple(words[name] for name in names) for body, words in story.words.items()}
        counts = Counter(said.values())
        found |= {body: list(names) for body in said if counts[said[body]] == 1 and body not in found}
    return found
