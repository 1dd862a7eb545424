"""What happens in a scene, as events: all that a question program can ask about."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

EventKind = Literal["enter", "exit", "collision"]
ASKED_WORDS = ("color", "shape", "material")
"""What can be asked of an object, in CLEVRER's spelling."""


class Event(NamedTuple):
    """Something that happens to one object, or to two that collide."""

    kind: EventKind
    env_step: int
    bodies: tuple[int, ...]
    """In ascending order."""

    @property
    def what(self) -> tuple[str, tuple[int, ...]]:
        """The event without its time: what is the same in the factual and a counterfactual future."""
        return self.kind, self.bodies


class Story(NamedTuple):
    """A scene as a reader understands it, or as the simulator knows it. All events are in order of time."""

    words: Mapping[int, Mapping[str, str]]
    """Of every object that is seen, by its index: its ``ASKED_WORDS``."""
    seen: Sequence[Event]
    """In the frames that are shown."""
    unseen: Sequence[Event]
    """After them."""
    without: Mapping[int, Sequence[Event]]
    """What would happen from the moment of removal to the last shown frame, by the object that is removed."""


def ancestors(event: Event, events: Sequence[Event]) -> list[Event]:
    """Causes of an event: those before it that share an object with it, and their own causes.

    Args:
        event: whose causes are asked for.
        events: in order of time.
    """
    reached, found = set(event.bodies), []
    for other in reversed(events):
        if other.env_step < event.env_step and reached & set(other.bodies):
            reached |= set(other.bodies)
            found.append(other)
    return found[::-1]
