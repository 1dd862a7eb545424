"""One self-contained HTML file from a study or a run folder: no external links; opens in any browser."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cjepa.errors import UserError
from cjepa.files import write_text
from cjepa.reporting.distances import named_by_distance
from cjepa.reporting.intervention_tables import intervention_tables, is_intervention
from cjepa.reporting.media import StageMedia, embedded
from cjepa.reporting.page import TrainingRun, curves_by_kind, render, result_figures, training_run
from cjepa.reporting.pivot import Table, measure_tables, plain_table
from cjepa.reporting.reading import TEST_RESULTS, read_results, read_study
from cjepa.reporting.run_details import RunDetails, run_details
from cjepa.reporting.rungs import ladder
from cjepa.reporting.series import in_series, series_of
from cjepa.reporting.stages import elapsed_seconds, stages_table
from cjepa.reporting.staleness import Stale, stale
from cjepa.reporting.summary import facts, summary
from cjepa.reporting.tables import Row, results_table

_RUN_FILES = ("run.json", "config.yaml", "metrics.csv", "results.json", TEST_RESULTS)


class Stage(NamedTuple):
    """What one run folder of the report holds."""

    name: str
    folder: Path
    details: RunDetails
    rows: list[Row]
    media: StageMedia

    @property
    def record(self) -> dict[str, Any]:
        """``run.json``."""
        return self.details.record


def build_report(folder: Path) -> Path:
    """Write ``folder/report.html`` from whatever a study or a run left in the folder.

    Args:
        folder: a study (``study.json`` and one folder a stage) or a run (``run.json``, ``config.yaml`` ...).

    Returns:
        The file written.

    Raises:
        UserError: the folder is missing or holds neither.
    """
    folder = Path(folder)
    study = read_study(folder / "study.json") if (folder / "study.json").is_file() else None
    if study is None and not any((folder / name).is_file() for name in _RUN_FILES):
        what = "contains no study.json or run.json" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: {what}; expected a study or a run folder, for example runs/studies/<name>")
    listed, missing = (study["stages"], study.get("missing", [])) if study else ([], [])
    folders = {entry["name"]: folder / (entry.get("folder") or entry["name"]) for entry in listed}
    if study is None:
        folders = {folder.resolve().name: folder}
    shown = embedded(list(folders.values()))
    stages = [_read_stage(where, name, media) for (name, where), media in zip(folders.items(), shown, strict=True)]
    found = in_series(read_results(folder) or [row for stage in stages for row in stage.rows], listed)
    rows = named_by_distance(found)
    records = [stage.record for stage in stages if stage.record]
    seconds = elapsed_seconds(listed) if study else stages[0].record.get("seconds") or 0
    outdated = [one for stage in stages if (one := stale(stage.name, stage.record)) is not None]
    page = render(
        "report.html.j2",
        title=study.get("name", folder.name) if study else folder.resolve().name,
        description=study.get("description", "") if study else stages[0].record.get("command", ""),
        facts=facts(records, seconds, _written(stages)),
        summary=summary(found),
        evidence=ladder(found),
        outdated=outdated,
        in_study=study is not None,
        missing=[stage["name"] for stage in missing],
        results=_marked(plain_table(results_table(rows)), _models_of(stages, outdated, listed)),
        figures=result_figures(found),
        interventions=intervention_tables(rows),
        measures=measure_tables(row for row in rows if not is_intervention(row)),
        curves=curves_by_kind(_trainings(stages, listed), rows),
        stages=stages,
        details=[stage.details for stage in stages],
        typed=study.get("typed") if study else None,
        lines=[stage["typed"] for stage in listed if stage.get("typed")],
        pipeline=plain_table(stages_table(listed, missing)) if listed else None,
        versions=next((record["versions"] for record in records if record.get("versions")), {}),
    )
    return write_text(folder / "report.html", page)


def _read_stage(folder: Path, name: str, media: StageMedia) -> Stage:
    return Stage(name, folder, run_details(name, folder), read_results(folder), media)


def _written(stages: list[Stage]) -> datetime:
    """When the newest file of a run was written: for records from before they said it themselves."""
    files = [stage.folder / name for stage in stages for name in _RUN_FILES]
    times = [file.stat().st_mtime for file in files if file.is_file()]
    return datetime.fromtimestamp(max(times, default=0), UTC)


def _models_of(stages: list[Stage], outdated: list[Stale], listed: list[dict[str, Any]]) -> set[str]:
    names = {one.name for one in outdated}
    rows = in_series((row for stage in stages if stage.name in names for row in stage.rows), listed)
    return {row["model"] for row in named_by_distance(rows)}


def _marked(table: Table | None, outdated: set[str]) -> Table | None:
    """With a note at the models that have a result that is out of date."""
    if table is None:
        return None
    rows = [
        [cells[0]._replace(note="out of date"), *cells[1:]] if cells[0].text in outdated else cells
        for cells in table.rows
    ]
    return table._replace(rows=rows)


def _trainings(stages: list[Stage], listed: list[dict[str, Any]]) -> list[TrainingRun]:
    series = series_of(listed)
    found = [training_run(one.name, series.get(one.name, one.name), one.record, one.folder) for one in stages]
    return [run for run in found if run is not None]
