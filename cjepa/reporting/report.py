"""One self-contained HTML file from a study or a run folder: no external links; opens in any browser."""

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from cjepa.errors import UserError
from cjepa.files import read_text, write_text
from cjepa.reporting import figures
from cjepa.reporting.curves import training_curves
from cjepa.reporting.distances import named_by_distance, of_one_distance, success_by_distance
from cjepa.reporting.intervene import intervention_tables, is_intervention
from cjepa.reporting.pivot import measure_tables, plain_table
from cjepa.reporting.reading import read_rows, read_run, read_study
from cjepa.reporting.records import TEST_RESULTS
from cjepa.reporting.stages import elapsed_seconds, stages_table
from cjepa.reporting.style import series_colours, to_svg
from cjepa.reporting.summary import facts, summary
from cjepa.reporting.tables import Row, results_table
from cjepa.reporting.videos import video_size

MEDIA_A_STAGE = 12
"""Pictures and videos of one stage that a report holds; the others stay in the folder and are counted."""

_TYPES = {".png": "image/png", ".mp4": "video/mp4"}
_RESULTS = ("results.json", TEST_RESULTS)
_RUN_FILES = ("run.json", "config.yaml", "metrics.csv", *_RESULTS)
_RESULT_FIGURES = {
    "Success against features": figures.success_by_tokens,
    "Prediction error": figures.rollout_errors,
    "Planning time": figures.time_per_plan,
    "Error against disagreement": figures.calibration,
}


class Media(NamedTuple):
    """A picture or a video as a data address."""

    caption: str
    address: str
    size: tuple[int, int]
    """Width and height of a video, in pixels; of a picture (0, 0): browsers know."""


class Stage(NamedTuple):
    """What one run folder of the report holds."""

    name: str
    folder: Path
    config: str
    record: dict[str, Any]
    rows: list[Row]
    images: list[Media]
    videos: list[Media]
    left_out: int
    """Pictures and videos beyond ``MEDIA_A_STAGE`` of each."""


class Curves(NamedTuple):
    """Training curves of runs that train the same kind of model."""

    runs: str
    svg: Markup


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
    listed = study["stages"] if study else []
    stages = [_read_stage(folder / (entry.get("folder") or entry["name"]), entry["name"]) for entry in listed]
    if study is None:
        stages = [_read_stage(folder, folder.resolve().name)]
    found = _rows(folder) or [row for stage in stages for row in stage.rows]
    rows = named_by_distance(found)
    records = [stage.record for stage in stages if stage.record]
    seconds = elapsed_seconds(listed) if study else stages[0].record.get("seconds") or 0
    page = _template().render(
        title=study.get("name", folder.name) if study else folder.resolve().name,
        description=study.get("description", "") if study else stages[0].record.get("command", ""),
        facts=facts(records, seconds, _written(stages)),
        summary=summary(found),
        results=plain_table(results_table(rows)),
        figures=_figures(found),
        interventions=intervention_tables(rows),
        measures=measure_tables(row for row in rows if not is_intervention(row)),
        curves=_curves(stages, rows),
        stages=stages,
        pipeline=plain_table(stages_table(listed)) if listed else None,
        versions=next((record["versions"] for record in records if record.get("versions")), {}),
    )
    return write_text(folder / "report.html", page)


def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    # The template ends in .j2, so escaping is asked for instead of guessed from the name.
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["json"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    return environment.get_template("report.html.j2")


def _read_stage(folder: Path, name: str) -> Stage:
    config, record = folder / "config.yaml", folder / "run.json"
    images, videos = (sorted((folder / "media").glob(pattern)) for pattern in ("*.png", "*.mp4"))
    return Stage(
        name=name,
        folder=folder,
        config=read_text(config) if config.is_file() else "",
        record=read_run(record) if record.is_file() else {},
        rows=_rows(folder),
        images=[_media(path) for path in images[:MEDIA_A_STAGE]],
        videos=[_media(path) for path in videos[:MEDIA_A_STAGE]],
        left_out=sum(max(len(found) - MEDIA_A_STAGE, 0) for found in (images, videos)),
    )


def _rows(folder: Path) -> list[Row]:
    paths = [folder / name for name in _RESULTS]
    return [row for path in paths if path.is_file() for row in read_rows(path)]


def _written(stages: list[Stage]) -> datetime:
    """When the newest file of a run was written: for records from before they said it themselves."""
    files = [stage.folder / name for stage in stages for name in _RUN_FILES]
    times = [file.stat().st_mtime for file in files if file.is_file()]
    return datetime.fromtimestamp(max(times, default=0), UTC)


def _media(path: Path) -> Media:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    # "trial00-failure" is "trial 00: failure"
    caption = re.sub(r"(?<=[a-z])(?=\d)", " ", path.stem.replace("_", " ").replace("-", ": "))
    size = video_size(path) if path.suffix == ".mp4" else (0, 0)
    return Media(caption, f"data:{_TYPES[path.suffix]};base64,{content}", size)


def _figures(rows: list[Row]) -> dict[str, Markup]:
    single = of_one_distance(rows)
    drawn = {"Success against distance": _svg(success_by_distance(rows))}
    drawn |= {title: _svg(draw(single)) for title, draw in _RESULT_FIGURES.items()}
    return {title: svg for title, svg in drawn.items() if svg}


def _curves(stages: list[Stage], rows: list[Row]) -> list[Curves]:
    """Runs of one class of model in common panels, in the colours that the figures give to models of their names."""
    groups: dict[str, list[Stage]] = {}
    for stage in stages:
        if (stage.folder / "metrics.csv").is_file():
            kind = (stage.record.get("model") or {}).get("class") or stage.name
            groups.setdefault(str(kind), []).append(stage)
    colours = figures.model_colours(rows)
    drawn = []
    for group in groups.values():
        names = [stage.name for stage in group]
        known = all(name in colours for name in names)
        figure = training_curves(
            {stage.name: stage.folder / "metrics.csv" for stage in group},
            colours if known else dict(zip(names, series_colours(len(names)), strict=True)),
        )
        drawn.append(Curves(", ".join(names), _svg(figure)))
    return [curves for curves in drawn if curves.svg]


def _svg(figure: Figure | None) -> Markup:
    # Matplotlib escapes the names that it writes into the SVG.
    return Markup("") if figure is None else Markup(to_svg(figure))
