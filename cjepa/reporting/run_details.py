"""What a page says of one run below its results: what was asked, the system record, the whole configuration."""

from pathlib import Path
from typing import Any, NamedTuple

from cjepa.files import read_text
from cjepa.reporting.asked import changes_to_base
from cjepa.reporting.reading import record_of
from cjepa.reporting.system_record import system_record


class RunDetails(NamedTuple):
    """The records of a run folder."""

    name: str
    config: str
    """``config.yaml``; empty without one."""
    record: dict[str, Any]
    """``run.json``; empty without one."""

    @property
    def changes(self) -> list[str]:
        """What the run was asked for beyond its base."""
        return changes_to_base(self.record.get("command", ""), self.config)

    @property
    def system(self) -> list[tuple[str, str]]:
        """The record in words."""
        return system_record(self.record)

    @property
    def shown_record(self) -> dict[str, Any]:
        """The record without a hundred digests of code."""
        return {key: value for key, value in self.record.items() if key != "code"}


def run_details(name: str, folder: Path) -> RunDetails:
    """Read what a run folder has.

    Raises:
        UserError: a file is damaged.
    """
    config = folder / "config.yaml"
    return RunDetails(name, read_text(config) if config.is_file() else "", record_of(folder))
