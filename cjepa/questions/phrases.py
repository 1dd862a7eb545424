"""How objects and events are put into words, and into the programs that find them."""

from collections.abc import Sequence

from cjepa.questions.executor import told_apart
from cjepa.questions.stories import Story

Program = list[str]
_SPOKEN = ("material", "color", "shape")
"""The order in which words stand before an object."""
FILTERS = {"enter": "filter_in", "exit": "filter_out", "collision": "filter_collision"}


class Phrases:
    """Names the objects of a scene.

    Args:
        story: of the scene.
    """

    def __init__(self, story: Story):
        self.story = story
        self._names = told_apart(story)

    def can_name(self, bodies: Sequence[int]) -> bool:
        """Whether each of the objects can be told from all others by its words."""
        return all(body in self._names for body in bodies)

    def needs(self, body: int, word: str) -> bool:
        """Whether the name of an object tells one of its words."""
        return word in self._names[body]

    def object(self, body: int) -> tuple[str, Program]:
        """Such as ``the red object``."""
        words, names = self.story.words[body], self._names[body]
        program = ["objects", *(word for name in names for word in (words[name], f"filter_{name}")), "unique"]
        said = [words[name] for name in _SPOKEN if name in names]
        return " ".join(["the", *said, *([] if "shape" in names else ["object"])]), program

    def event(self, what: tuple[str, tuple[int, ...]]) -> tuple[str, Program]:
        """Such as ``the red object and the blue object collide``; the program takes its events from the stack."""
        kind, bodies = what
        names = [self.object(body) for body in bodies]
        program = [word for _, finds in names for word in (*finds, FILTERS[kind])]
        said = " and ".join(name for name, _ in names)
        return f"{said} {'collide' if kind == 'collision' else f'{kind}s the scene'}", program

    def noun(self, what: tuple[str, tuple[int, ...]]) -> tuple[str, Program]:
        """Such as ``the collision between the red object and the blue object``; otherwise as :meth:`event`."""
        kind, bodies = what
        said = [self.object(body)[0] for body in bodies]
        noun = f"the collision between {said[0]} and {said[-1]}" if kind == "collision" else f"{said[0]} {kind}ing"
        return noun, self.event(what)[1]
