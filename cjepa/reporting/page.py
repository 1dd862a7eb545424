"""What the HTML pages of this package share: their template, figures of result rows, and training curves."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from cjepa.counts import number_of
from cjepa.reporting import figures, pareto
from cjepa.reporting.curves import training_curves
from cjepa.reporting.distances import of_one_distance
from cjepa.reporting.sort_values import sort_value
from cjepa.reporting.style import to_svg
from cjepa.reporting.tables import Row

_FOLDER = Path(__file__).parent
_NAMED = 6
"""Most models that a heading names."""
_RESULT_FIGURES = {
    "Success against features": figures.success_by_tokens,
    "Success against seconds": pareto.success_by_seconds,
    "Success against arithmetic": pareto.success_by_gigaflops,
    "Prediction error": figures.rollout_errors,
    "Planning time": figures.time_per_plan,
    "Error against disagreement": figures.calibration,
}


class TrainingRun(NamedTuple):
    """A run with training curves."""

    name: str
    kind: str
    """Runs of one kind share their panels."""
    metrics_csv: Path
    model: str
    """What tables and figures call it; several seeds share the name."""


def training_run(name: str, model: str, record: Mapping[str, Any], folder: Path) -> TrainingRun | None:
    """The training that a folder holds; None of a folder without curves, and of a test, which logs a single point.

    Args:
        name: of the run.
        model: see :class:`TrainingRun`.
        record: its ``run.json``; empty where training has not ended.
        folder: of the run.
    """
    metrics, is_test = folder / "metrics.csv", (record.get("evaluation") or {}).get("split") == "test"
    kind = str((record.get("model") or {}).get("class") or name)
    return None if is_test or not metrics.is_file() else TrainingRun(name, kind, metrics, model)


class Curves(NamedTuple):
    """Training curves of runs that train the same kind of model."""

    runs: str
    svg: Markup


class Script(NamedTuple):
    """The script of all pages."""

    text: Markup
    digest: str
    """Names the script in the page's security policy, so that a browser runs no other and loads nothing."""


def render(template: str, **content: Any) -> str:
    """A page from one of the templates of this folder."""
    loader = jinja2.FileSystemLoader(_FOLDER)
    # The templates end in .j2, so escaping is asked for instead of guessed from the name.
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["json"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    environment.filters["sort_value"] = sort_value
    environment.filters["breakable"] = _breakable
    return environment.get_template(template).render(**content, script=_script())


def result_figures(rows: list[Row]) -> dict[str, Markup]:
    """Title -> figure, of what the rows have values for."""
    single = of_one_distance(rows)
    drawn = {"Success against distance": svg(figures.success_by_distance(rows))}
    drawn |= {title: svg(draw(single)) for title, draw in _RESULT_FIGURES.items()}
    return {title: drawing for title, drawing in drawn.items() if drawing}


def curves_by_kind(runs: Sequence[TrainingRun], rows: list[Row]) -> list[Curves]:
    """Runs of one kind of model in common panels, in the colours that the figures give to models of their names."""
    groups: dict[str, list[TrainingRun]] = {}
    for run in runs:
        groups.setdefault(run.kind, []).append(run)
    known = figures.model_colours(rows)
    drawn = []
    for group in groups.values():
        models = {run.name: run.model for run in group}
        names = list(dict.fromkeys(models.values()))
        figure = training_curves(
            {run.name: run.metrics_csv for run in group},
            known if set(names) <= set(known) else None,
            models,
        )
        few = ", ".join(names) if len(names) <= _NAMED else number_of(len(names), "model")
        drawn.append(Curves(few, svg(figure)))
    return [curves for curves in drawn if curves.svg]


def svg(figure: Figure | None) -> Markup:
    """The figure as part of a page; empty without one."""
    # Matplotlib escapes the names that it writes into the SVG.
    return Markup("") if figure is None else Markup(to_svg(figure))


def _breakable(text: str) -> Markup:
    """Names of metrics may go on in the next line after an underscore, where there is little room."""
    return Markup(str(escape(text)).replace("_", "_<wbr>"))


def _script() -> Script:
    text = (_FOLDER / "tables.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return Script(Markup(text), f"sha256-{digest}")
