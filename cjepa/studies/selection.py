"""Which stages of a study are asked for, and which have to run although they are done."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from cjepa.errors import UserError
from cjepa.studies.definition import Stage


class Selection(NamedTuple):
    """Stages by shell patterns of their names, such as ``plan-*``."""

    only: Sequence[str] = ()
    """Stages to run, with the stages that they need; empty: all."""
    force: Sequence[str] = ()
    """Stages to run again, with all stages that read them."""

    def chosen(self, stages: Sequence[Stage]) -> list[Stage]:
        """The stages that the study has to finish.

        Raises:
            UserError: a pattern matches no stage.
        """
        if not self.only:
            return list(stages)
        names = _matching(stages, self.only, "--only")
        for stage in reversed(stages):  # a stage reads only stages above it
            if stage.name in names:
                names.update(stage.depends_on())
        return [stage for stage in stages if stage.name in names]

    def forced(self, stages: Sequence[Stage]) -> list[Stage]:
        """The stages that no longer count as done: also those that read a forced stage and are not chosen.

        Raises:
            UserError: a pattern matches no stage that is chosen.
        """
        names = _matching(self.chosen(stages), self.force, "--force")
        for stage in stages:
            if not names.isdisjoint(stage.depends_on()):
                names.add(stage.name)
        return [stage for stage in stages if stage.name in names]


def _matching(stages: Sequence[Stage], patterns: Sequence[str], option: str) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matches = {stage.name for stage in stages if fnmatchcase(stage.name, pattern)}
        if not matches:
            if "," in pattern:
                raise UserError(f"{option} {pattern}: type spaces between names: {option} {pattern.replace(',', ' ')}")
            names = ", ".join(stage.name for stage in stages[:20])
            raise UserError(f"{option} {pattern}: no such stage; expected names or patterns of {names}")
        found |= matches
    return found
