"""A comparison as one HTML file: the table of differences, figures, and training curves over each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cjepa.reporting.asked import changes_to_run
from cjepa.reporting.comparison import Comparison, Entry, table
from cjepa.reporting.comparison_figures import difference_figure
from cjepa.reporting.contestants import Source, is_study
from cjepa.reporting.figures import model_colours
from cjepa.reporting.page import TrainingRun, curves_by_kind, render, result_figures, svg
from cjepa.reporting.pivot import Table, plain_table
from cjepa.reporting.records import versions
from cjepa.reporting.run_details import RunDetails, run_details
from cjepa.reporting.rungs import ladder
from cjepa.reporting.tables import enumeration, results_table


def comparison_page(comparison: Comparison, sources: Sequence[Source], command: str) -> str:
    """The page, as text.

    Args:
        comparison: of the sources.
        sources: whose rows, curves and records are shown.
        command: that made it.
    """
    shared = {entry.row["model"] for entry in comparison.entries}
    rows = [row for source in sources for row in source.rows if row["model"] in shared]
    trainings = [run for source in sources for run in source.curves if run.name in shared or not is_study(source.path)]
    details = {folder: run_details(str(folder), folder) for source in sources for folder in source.folders}
    return render(
        "comparison.html.j2",
        title=f"{len({entry.row['model'] for entry in comparison.main})} models compared",
        description=command,
        facts=[("Differences to", comparison.reference)],
        summary=_sentences(comparison.main, comparison.reference),
        evidence=ladder(rows),
        asked=_asked(trainings, comparison.reference, details),
        outdated=[old for source in sources for old in source.outdated],
        results=plain_table(results_table(rows)),
        differences=_tables(comparison),
        difference_figure=svg(difference_figure(comparison.main, comparison.reference, model_colours(rows))),
        figures=result_figures(rows),
        curves=curves_by_kind(trainings, rows),
        details=list(details.values()),
        versions=versions(),
    )


def _asked(
    trainings: Sequence[TrainingRun], reference: str, details: Mapping[Path, RunDetails]
) -> dict[str, list[str]]:
    """Name of a training -> what it was asked for beyond the reference, or the first of its kind, which is named."""
    first: dict[str, TrainingRun] = {}
    for run in sorted(trainings, key=lambda run: run.name != reference):
        first.setdefault(run.kind, run)
    found = {}
    for run in trainings:
        config, other = (details[one.metrics_csv.parent].config for one in (run, first[run.kind]))
        if lines := changes_to_run(config, other):
            found[run.name] = [f"  {first[run.kind].name}", *lines]
    return found


def _tables(comparison: Comparison) -> list[Table]:
    """One table per metric, the main metrics first."""
    groups: dict[tuple[bool, str, str], list[Entry]] = {}
    for entry in comparison.entries:
        groups.setdefault((not entry.is_main, entry.metric, entry.split), []).append(entry)
    tables = []
    for key in sorted(groups, key=lambda key: key[0]):
        _, metric, split = key
        header, *body = table(groups[key], comparison.reference)
        unit = str(groups[key][0].row.get("unit") or "")
        caption = ", ".join(filter(None, [metric, unit, split and f"{split} split"]))
        tables.append(plain_table([header[1:], *(row[1:] for row in body)], caption))
    return tables


def _sentences(entries: Sequence[Entry], reference: str) -> list[str]:
    """What differs for certain, and what may be chance, by metric."""
    sentences = []
    for metric, split in dict.fromkeys((entry.metric, entry.split) for entry in entries):
        found = [e for e in entries if (e.metric, e.split) == (metric, split) and e.difference is not None]
        higher, lower, open_ = ([e.row["model"] for e in found if e.difference.sign == sign] for sign in (1, -1, 0))
        parts = [
            f"{enumeration(names)} {'is' if len(names) == 1 else 'are'} {what} {reference}"
            for names, what in ((higher, "above"), (lower, "below"), (open_, "not told apart from"))
            if names
        ]
        if parts:
            sentences.append(f"{metric}{f' ({split})' if split else ''}: {'; '.join(parts)}.")
    return sentences
