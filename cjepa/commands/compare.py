"""`cjepa compare`: runs side by side, with the differences to one of them."""

import hashlib
from pathlib import Path

from cjepa.command_result import CommandResult
from cjepa.counts import number_of
from cjepa.errors import UserError
from cjepa.files import write_text
from cjepa.locks import only_process, refuse_foreign
from cjepa.reporting.comparison import compare, table, to_csv, to_markdown
from cjepa.reporting.comparison_page import comparison_page
from cjepa.reporting.contestants import is_study, labels_of, read_sources
from cjepa.reporting.records import command_here

_LONGEST_NAME = 100
_FILES = ("comparison.html", "comparison.md", "comparison.csv")


def compare_command(runs: list[str], against: str | None = None, out: str | None = None) -> CommandResult:
    """Compare runs, or the models of studies: one table with the differences to one of them, and one HTML page.

    Planning results are compared pair by pair where both have planned the same pairs of start and goal; all else from
    the intervals of the two values, which is wider, and is marked as unpaired.

    Args:
        runs: two or more folders of runs, or studies; a run includes the results in its plan/ and intervene/.
        against: model or run that the differences are to; default: the first.
        out: folder for page, Markdown and CSV; default: STUDY/comparison, or runs/comparisons/A-vs-B.
    """
    paths = [Path(run) for run in runs]
    if len(paths) == 1 and paths[0].is_dir() and not is_study(paths[0]):
        raise UserError(f"{paths[0]}: one run alone; give two or more runs, or a study")
    sources = read_sources(paths)
    comparison = compare(sources, against)
    folder = Path(out) if out else _default_folder(paths)
    refuse_foreign(folder, _FILES, "--out")
    everything = table(comparison.entries, comparison.reference)
    contents = (comparison_page(comparison, sources, command_here()), to_markdown(everything), to_csv(comparison))
    with only_process(folder, "cjepa compare"):
        files = [write_text(folder / name, text) for name, text in zip(_FILES, contents, strict=True)]
    shown = table(comparison.main, comparison.reference)
    more = len(everything) - len(shown)
    old = [f"out of date: {one.name}: changed since: {'; '.join(one.reasons)}" for s in sources for one in s.outdated]
    lines = [*old, f"in the files: {number_of(more, 'more row')}" if more else "", *map(str, files)]
    return CommandResult([line for line in lines if line], _grouped(shown))


def _default_folder(paths: list[Path]) -> Path:
    if len(paths) == 1:
        return paths[0] / "comparison"
    name = "-vs-".join(label.replace("/", "-") for label in labels_of(paths))
    if len(name) > _LONGEST_NAME:  # two long names may begin alike
        name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return Path("runs", "comparisons", name)


def _grouped(cells: list[list[str]]) -> list[list[str]]:
    """The name of a metric only in its first row."""
    before = [""] + [row[0] for row in cells]
    return [["" if row[0] == above else row[0], *row[1:]] for row, above in zip(cells, before, strict=False)]
