"""An evaluation of interventions as files: rows with intervals, a record, tables of pairs and effects, pictures."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cjepa.evaluation.interventions.card import InterventionResult
from cjepa.evaluation.interventions.counterfactuals import EMPTY
from cjepa.evaluation.interventions.effects import joined, score_effects, score_errors
from cjepa.evaluation.interventions.influence_graphs import RIVALS
from cjepa.evaluation.interventions.laboratory import SceneProtocol
from cjepa.evaluation.interventions.permanence import score_hidden
from cjepa.evaluation.interventions.violations import score_violations
from cjepa.evaluation.measurements import Measurement
from cjepa.files import write_json, write_text
from cjepa.reporting.attention_maps import attention_maps
from cjepa.reporting.drawings import write_drawing
from cjepa.reporting.intervene_figures import (
    effect_sizes,
    influence_areas,
    influence_by_contact,
    surprise_by_time,
)
from cjepa.reporting.intervene_videos import write_scene_videos
from cjepa.reporting.records import evaluated_model, write_run_record
from cjepa.reporting.scene_graphs import (
    ATTENTION,
    busiest_scenes,
    influences_of,
    scene_graphs,
    shown_estimates,
    worst_scenes,
)
from cjepa.reporting.scene_rows import rows_of_scenes
from cjepa.reporting.tables import Row, csv_text

_UNCERTAINTY = ["95 % bootstrap over episodes"]
_SCENES = 4
"""Of each figure of graphs."""


def write_intervention_result(
    result: InterventionResult,
    folder: Path,
    *,
    name: str,
    checkpoint: Path,
    protocol: SceneProtocol,
    seconds: float,
    num_videos: int,
) -> list[Row]:
    """Write ``results.json``, ``run.json``, ``pairs.csv``, ``effects.csv`` and ``media``; returns the rows.

    Args:
        result: of the evaluation.
        folder: to write into.
        name: of the model.
        checkpoint: of the model.
        protocol: of the scenes.
        seconds: wall time of the evaluation.
        num_videos: of scenes, besides the worst.
    """
    rows = rows_of_scenes(_measured(result, name), result.lab, protocol, folder)
    media = folder / "media"
    media.mkdir(exist_ok=True)
    figures = {"influence-auroc": influence_areas(rows)} | _graphs(result) | _attention(result)
    if result.effects:
        figures["effects"] = effect_sizes(result.effects)
    if result.violations is not None:
        figures["surprise"] = surprise_by_time(result.violations)
    if result.by_time is not None:
        figures["influence-by-time"] = influence_by_contact(result.by_time)
    for title, figure in figures.items():
        write_drawing(media / f"{title}.svg", figure)
    write_scene_videos(media, result, num_videos)
    write_text(folder / "pairs.csv", _pairs_csv(result))
    if result.effects:
        write_text(folder / "effects.csv", _effects_csv(result))
    _write_record(result, folder, name, checkpoint, protocol, seconds)
    write_json(folder / "results.json", rows)  # last: a folder that has it is done
    return rows


def _graphs(result: InterventionResult) -> dict[str, Figure]:
    """Graphs over the scenes with most influences, and over those in which the best estimate is worst."""
    pairs, estimates = result.pairs, shown_estimates(result.pairs, result.best)
    chosen = {"influence-graphs": busiest_scenes(pairs, len(result.lab.test.episode_B))}
    if result.best is not None:
        chosen["influence-worst"] = worst_scenes(pairs, result.best)
    return {
        f"{title}-{number}": scene_graphs(result.lab, pairs, estimates, scenes[first : first + 2])
        for title, scenes in chosen.items()
        for number, first in enumerate(range(0, min(len(scenes), _SCENES), 2), start=1)
    }


def _attention(result: InterventionResult) -> dict[str, Figure]:
    """What the layers attend to in the busiest scenes; nothing of a model without attention."""
    pairs, lab = result.pairs, result.lab
    if ATTENTION not in pairs.scores:
        return {}
    scenes, bodies = busiest_scenes(pairs, len(lab.test.episode_B))[:2], lab.test.slot_BO.shape[1]
    return {
        f"attention-{number}": attention_maps(lab, scene, influences_of(pairs, ATTENTION, scene, bodies))
        for number, scene in enumerate(map(int, scenes), start=1)
    }


def _measured(result: InterventionResult, name: str) -> Iterable[tuple[str, Measurement]]:
    """Every number with what it is of: the model itself, the model by one way, or a rival."""
    rivals = (*RIVALS, "empty graph", "contact graph")

    def called(estimate: str) -> str:
        return estimate if estimate in rivals and estimate != "predicted tracks" else f"{name}: {estimate}"

    best = next((graph for graph in result.graphs if graph.name == result.best), None)
    if best is not None:
        yield from ((name, found._replace(unit=f"by {best.name}")) for found in best.measured)
    for graph in result.graphs:
        yield from ((called(graph.name), found) for found in graph.measured)
    yield from ((called(estimate), found) for estimate, found in result.stability.items())
    for graph, measured in result.removal.items():
        yield from ((called(graph), found) for found in measured)
    yield from _of_effects(result, name)
    for answer, measured in score_hidden(result.hidden).items():
        yield from ((name if answer == "model" else answer, found) for found in measured)
    if result.violations is not None:
        yield from ((name, found) for found in score_violations(result.violations))


def _of_effects(result: InterventionResult, name: str) -> Iterable[tuple[str, Measurement]]:
    """Likewise, of counterfactuals."""
    if not result.effects:
        return
    side_units = result.lab.env.table[1]
    every = joined([effects for effects in result.effects if effects.way != EMPTY], "all")
    for effects in (every, *result.effects):
        model = name if effects is every else f"{name}: {effects.way}"
        yield from ((model, found) for found in score_effects(effects, side_units))
    for effects in (every, *result.effects):
        model = name if effects is every else f"{name}: {effects.way}"
        for answer, measured in score_errors(effects, side_units).items():
            if answer == "model" or effects is every:
                yield from ((model if answer == "model" else answer, found) for found in measured)


def _pairs_csv(result: InterventionResult) -> str:
    """One row per pair of bodies and scene, with every estimate."""
    pairs = result.pairs
    lines = [["scene", "episode", "first_env_step", "target", "source", "hops", *pairs.scores]]
    start_N = result.lab.test.start_B[pairs.scene_N]
    columns = (pairs.scene_N, pairs.episode_N, start_N, pairs.target_N, pairs.source_N, pairs.hops_N)
    for ints, scores in zip(zip(*columns, strict=True), zip(*pairs.scores.values(), strict=True), strict=True):
        lines.append([*map(int, ints), *(f"{score:.6g}" for score in scores)])
    return csv_text(lines)


def _effects_csv(result: InterventionResult) -> str:
    """One row per intervention and other body; effects in the environment's units."""
    effect = [f"{whose}_effect_{axis}" for whose in ("true", "predicted") for axis in "xy"]
    lines = [["intervention", "scene", "episode", "changed", "body", *effect, "error"]]
    for one in result.effects:
        error_N = np.linalg.norm(one.predicted_N2 - one.true_N2, axis=1)
        columns = np.column_stack([one.true_effects, one.predicted_effects, error_N])
        for ints, values in zip(
            zip(one.scene_N, one.episode_N, one.changed_N, one.body_N, strict=True), columns, strict=True
        ):
            lines.append([one.way, *map(int, ints), *(f"{value:.6g}" for value in values)])
    return csv_text(lines)


def _write_record(
    result: InterventionResult, folder: Path, name: str, checkpoint: Path, protocol: SceneProtocol, seconds: float
) -> None:
    lab = result.lab
    finite = {graph.name: graph.threshold if np.isfinite(graph.threshold) else None for graph in result.graphs}
    write_run_record(
        folder,
        model=evaluated_model(name, checkpoint),
        objective={"best_estimate": result.best, "thresholds": finite},
        data={"path": protocol.episodes, "fingerprint": lab.fingerprint},
        evaluation=asdict(protocol) | {"held_out": lab.account, "frame_stride": lab.frame_stride},
        actions={"interventions": [effects.way for effects in result.effects]},
        uncertainty=_UNCERTAINTY,
        seconds=seconds,
    )
