"""`cjepa inspect`: what a file or folder holds; of episodes a data card too."""

from pathlib import Path

from cjepa.artifacts.data_card import card_lines
from cjepa.artifacts.inspect import column_table, fact_lines, inspect_path
from cjepa.command_result import CommandResult
from cjepa.files import json_text


def inspect_command(path: str, json: bool = False) -> CommandResult:
    """Show what a file or folder contains: episodes, tokens, a checkpoint, a run or a study.

    Args:
        path: episode or token file, folder or glob of several; checkpoint or zoo:NAME; run or study folder.
        json: print one JSON object, for programs.
    """
    facts, columns = inspect_path(Path(path))
    if json:
        return CommandResult([json_text({**facts, "columns": columns})])
    card = facts.pop("data_card", None)
    return CommandResult(fact_lines(facts) + (card_lines(card) if card else []), column_table(columns))
