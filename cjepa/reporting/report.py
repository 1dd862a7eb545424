"""One self-contained HTML file from a study or a run folder: no external links; opens in any browser."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from cjepa.errors import UserError
from cjepa.files import read_text, write_text
from cjepa.reporting import figures
from cjepa.reporting.reading import read_rows, read_run, read_study
from cjepa.reporting.records import TEST_RESULTS
from cjepa.reporting.stages import elapsed_seconds, stages_table
from cjepa.reporting.style import to_svg
from cjepa.reporting.tables import Row, other_table, results_table, seconds_text

MEDIA_A_STAGE = 12
"""Pictures and videos of one stage that a report holds; the others stay in the folder and are counted."""

_TYPES = {".png": "image/png", ".mp4": "video/mp4"}
_RESULTS = ("results.json", TEST_RESULTS)
_RUN_FILES = ("run.json", "config.yaml", "metrics.csv", *_RESULTS)
_RESULT_FIGURES = {
    "Success against features": figures.success_by_tokens,
    "Prediction error": figures.rollout_errors,
    "Planning time": figures.time_per_plan,
}


class Media(NamedTuple):
    """A picture or a video as a data address."""

    caption: str
    address: str


class Stage(NamedTuple):
    """What one run folder of the report holds."""

    name: str
    command: str
    config: str
    record: dict[str, Any]
    rows: list[Row]
    curves: Markup
    images: list[Media]
    videos: list[Media]
    left_out: int
    """Pictures and videos beyond ``MEDIA_A_STAGE`` of each."""


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
    stages = [_read_stage(folder / (s.get("folder") or s["name"]), s["name"], s.get("command", "")) for s in listed]
    if study is None:
        stages = [_read_stage(folder, folder.resolve().name, "")]
    rows = _rows(folder) or [row for stage in stages for row in stage.rows]
    page = _template().render(
        title=study.get("name", folder.name) if study else folder.resolve().name,
        description=study.get("description", "") if study else stages[0].record.get("command", ""),
        results=results_table(rows),
        others=other_table(rows),
        figures=_figures(rows),
        stages=stages,
        pipeline=stages_table(listed) if listed else [],
        total=seconds_text(elapsed_seconds(listed)),
        versions=_first(stage.record.get("versions") for stage in stages),
        commits=_commits(stages),
    )
    return write_text(folder / "report.html", page)


def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    # The template ends in .j2, so escaping is asked for instead of guessed from the name.
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["json"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    return environment.get_template("report.html.j2")


def _read_stage(folder: Path, name: str, command: str) -> Stage:
    config, record = folder / "config.yaml", folder / "run.json"
    images, videos = (sorted((folder / "media").glob(pattern)) for pattern in ("*.png", "*.mp4"))
    return Stage(
        name=name,
        command=command,
        config=read_text(config) if config.is_file() else "",
        record=read_run(record) if record.is_file() else {},
        rows=_rows(folder),
        curves=_svg(figures.training_curves(folder / "metrics.csv")),
        images=[_media(path) for path in images[:MEDIA_A_STAGE]],
        videos=[_media(path) for path in videos[:MEDIA_A_STAGE]],
        left_out=sum(max(len(found) - MEDIA_A_STAGE, 0) for found in (images, videos)),
    )


def _rows(folder: Path) -> list[Row]:
    paths = [folder / name for name in _RESULTS]
    return [row for path in paths if path.is_file() for row in read_rows(path)]


def _media(path: Path) -> Media:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return Media(path.stem.replace("_", " "), f"data:{_TYPES[path.suffix]};base64,{content}")


def _figures(rows: list[Row]) -> dict[str, Markup]:
    drawn = {title: _svg(draw(rows)) for title, draw in _RESULT_FIGURES.items()}
    return {title: svg for title, svg in drawn.items() if svg}


def _svg(figure: Figure | None) -> Markup:
    # Matplotlib escapes the names that it writes into the SVG.
    return Markup("") if figure is None else Markup(to_svg(figure))


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value), None)


def _commits(stages: list[Stage]) -> list[str]:
    states = [stage.record.get("git") or {} for stage in stages]
    names = [
        f"{s['commit'][:12]}{' with uncommitted changes' if s.get('dirty') else ''}" for s in states if s.get("commit")
    ]
    return list(dict.fromkeys(names))
