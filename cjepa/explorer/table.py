"""Answers of the page for an environment with interventions: model beside simulator."""

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cjepa.envs.interventions import WITH_VALUE
from cjepa.errors import UserError
from cjepa.evaluation.bodies import places
from cjepa.evaluation.interventions.counterfactuals import simulated
from cjepa.evaluation.interventions.influence_graphs import Estimate, possible
from cjepa.evaluation.interventions.what_if import HeldOutScenes, Scene, Way, WhatIf
from cjepa.explorer.pictures import cut_out, data_url, drawing_of, plain, without_bodies
from cjepa.explorer.settings import WAYS, TableSettings, table_settings

_KEPT_SCENES = 64
_MOST_SPEED = 2000.0  # units per second; bodies come in at some hundreds


class _Factual(NamedTuple):
    """What does not depend on the intervention."""

    scene: Scene
    place_TO2: np.ndarray
    """In the simulator, over history and predicted blocks; NaN for bodies that are not on the table."""
    pictures: dict[str, Any]


class TableExplorer:
    """Answers what the page asks of a world model; one question at a time, since there is one simulator.

    Args:
        scenes: of the model.
        name: of the model.
        estimates: of influence to choose from, the first by default; those that the model does not allow are left out.
    """

    page = "table"

    def __init__(
        self,
        scenes: HeldOutScenes,
        name: str,
        estimates: Sequence[Estimate] = ("remove", "mask", "empty", "gradient", "attention", "path"),
    ):
        self.scenes, self.name, self.lab = scenes, name, scenes.lab
        self.estimates = possible(self.lab, estimates)
        self._drawing = drawing_of(self.lab.env)
        self._low, self._high = self.lab.env.table
        self._factual = lru_cache(_KEPT_SCENES)(self._new_factual)
        self._influence = lru_cache(_KEPT_SCENES)(self._new_influence)

    def about(self) -> dict[str, Any]:
        """What is the same in every answer."""
        lab = self.lab
        return {
            "model": self.name,
            "held_out": lab.account,
            "scenes": len(self.scenes),
            "ways": WAYS,
            "with_value": WITH_VALUE,
            "estimates": self.estimates,
            "history": lab.history,
            "frame_stride": lab.frame_stride,
            "block_seconds": lab.block_seconds,
            "low": self._low,
            "side": self._high - self._low,
            "unit": lab.env.length_unit,
        }

    def answer(self, query: Mapping[str, str]) -> dict[str, Any]:
        """All that the page shows for the settings of a query, ready for JSON.

        Raises:
            UserError: settings that make no sense.
        """
        started = time.perf_counter()
        asked = self._completed(table_settings(query))
        cut = (asked.scene, asked.start, asked.horizon)
        factual = self._factual(*cut)
        scene = factual.scene
        found = scene.what_if(asked.way, asked.body, asked.value)
        change = scene.intervention(asked.way, asked.body, asked.value)
        tracks = self._tracks(asked, factual, found)
        influence_OO = None if asked.by is None else self._influence(*cut, asked.by)
        start = self._drawing, self.lab.frame_stride, scene.state_F, scene.action_TA
        frames = [] if change is None else simulated(*start, change, self._drawing.render_pixels)
        answer = {
            "about": self.about(),
            "settings": asked._asdict(),
            "limits": {
                "start": self.scenes.last_start(asked.scene, asked.horizon),
                "horizon": self.scenes.longest_horizon(asked.scene),
            },
            "episode": int(self.lab.test.episode_B[asked.scene]),
            "bodies": scene.bodies,
            "tracks": {name: plain(values) for name, values in tracks.items()},
            "contacts": scene.contact_hops.tolist(),
            "influence": None if influence_OO is None else plain(influence_OO, 9),
            "agreement": _agreement(scene, influence_OO),
            "effects": effects_of(found, scene.bodies, asked),
            **factual.pictures,
            "counterfactual_frames": [data_url(pixels_YXC) for pixels_YXC in frames],
        }
        return answer | {"seconds": round(time.perf_counter() - started, 3)}

    def _completed(self, asked: TableSettings) -> TableSettings:
        """The settings with what was left to us."""
        if asked.scene is None:
            asked = asked._replace(scene=int((self.lab.test.slot_BO >= 0).any(axis=1).argmax()))
        start = self.scenes.start(asked.scene) if asked.start is None else asked.start
        horizon = asked.horizon
        if horizon is None:
            horizon = min(self.scenes.horizon_blocks, self.scenes.longest_horizon(asked.scene))
        by = asked.by or next(iter(self.estimates), None)
        if asked.start is None:  # a longer horizon than that of the test scene begins earlier
            start = min(start, max(0, self.scenes.last_start(asked.scene, horizon)))
        scene = self._factual(asked.scene, start, horizon).scene
        body = self._interesting_body(scene) if asked.body is None else asked.body
        block = asked.block
        if block is not None and not -self.lab.history < block <= horizon:
            raise UserError(f"block {block}: expected {1 - self.lab.history}..{horizon}")
        scene.intervention(asked.way, body, asked.value)  # refuses bodies that the model does not see
        x, y = asked.value or self._sensible_value(scene, asked.way, body) or (None, None)
        asked = asked._replace(start=start, horizon=horizon, body=body, by=by, x=x, y=y)
        self._check_value(asked)
        return asked

    def _check_value(self, asked: TableSettings) -> None:
        low, high, value = self._low, self._high, asked.value
        if asked.way not in WITH_VALUE and value is not None:
            raise UserError(f"x and y: {asked.way} takes no value; leave them out")
        if asked.way == "set_position" and not all(low <= number <= high for number in value):
            raise UserError(f"x and y: the place {value} is not on the table, expected {low:g}..{high:g}")
        if asked.way == "set_velocity" and not np.hypot(*value) <= _MOST_SPEED:
            raise UserError(f"x and y: the velocity {value} is too high, expected at most {_MOST_SPEED:g} per second")

    def _interesting_body(self, scene: Scene) -> int:
        """The first body that touches another one, else the first; not the agent, if there is another."""
        if not scene.bodies:
            raise UserError("the model sees no body on the table at the end of the history; choose another start")
        self.lab.env.set_state(scene.state_F)
        free = self.lab.env.free_bodies()
        bodies = [body for body in scene.bodies if body in free] or scene.bodies
        touching = [body for body in bodies if (scene.contact_hops[scene.bodies, body] == 1).any()]
        return (touching or bodies)[0]

    def _sensible_value(self, scene: Scene, way: Way, body: int) -> tuple[float, float] | None:
        if way not in WITH_VALUE:
            return None
        self.lab.env.set_state(scene.state_F)
        x, y = self.lab.env.sensible_value(way, body, np.random.default_rng(0))
        return round(x), round(y)

    def _new_factual(self, index: int, start: int, horizon: int) -> _Factual:
        scene, draw = self.scenes.scene(index, start, horizon), self._drawing
        rows = self.scenes.episode(index).rows
        states_TF = rows["state"][start + np.arange(self.lab.history + horizon) * self.lab.frame_stride]
        frames = []
        for state in states_TF:
            draw.set_state(state)
            frames.append(draw.render_pixels())
        draw.set_state(scene.state_F)
        pixels_YXC, labels_YX = draw.render_pixels(), draw.render_labels()
        scale = pixels_YXC.shape[1] / (self._high - self._low)
        objects_TOF = scene.scenes.objects_BTOF[0]
        place_TO2 = np.where(self._present(objects_TOF)[..., None], places(objects_TOF, self.lab.env), np.nan)
        place_O2 = place_TO2[self.lab.history - 1] - self._low
        cut = {body: cut_out(pixels_YXC, labels_YX, body, place_O2[body], scale) for body in scene.bodies}
        pictures = {
            "frames": [data_url(pixels) for pixels in frames],
            "background": data_url(without_bodies(pixels_YXC, labels_YX)),
            "sprites": {body: sprite for body, sprite in cut.items() if sprite is not None},
            "names": dict(enumerate(self.lab.env.body_names)),
        }
        return _Factual(scene, place_TO2, pictures)

    def _present(self, objects_TOF: np.ndarray) -> np.ndarray:
        names = self.lab.env.attribute_names
        if "present" not in names:
            return np.ones(objects_TOF.shape[:-1], bool)
        return objects_TOF[..., names.index("present")] > 0

    def _new_influence(self, index: int, start: int, horizon: int, by: Estimate) -> np.ndarray:
        """The first estimate of its kind, ``(O, O)``: how far predictions move, not whether they get worse."""
        return next(iter(self._factual(index, start, horizon).scene.influence(by).values()))

    def _tracks(self, asked: TableSettings, factual: _Factual, found: WhatIf) -> dict[str, np.ndarray]:
        """Places to draw; but for ``seen``, the history, all begin at the end of the history."""
        now_O2 = factual.place_TO2[self.lab.history - 1]
        changed_O2 = now_O2.copy()
        if asked.way == "set_position":
            changed_O2[asked.body] = asked.value
        true_HO2 = np.where(np.isnan(factual.place_TO2[self.lab.history :]), np.nan, found.true)
        if asked.way == "remove":
            changed_O2[asked.body], true_HO2[:, asked.body] = np.nan, np.nan
        return {
            "seen": factual.place_TO2[: self.lab.history],
            "true_factual": factual.place_TO2[self.lab.history - 1 :],
            "true": np.concatenate([changed_O2[None], true_HO2]),
            "factual": np.concatenate([now_O2[None], found.factual]),
            "predicted": np.concatenate([changed_O2[None], found.predicted]),
        }


def effects_of(found: WhatIf, bodies: list[int], asked: TableSettings) -> list[dict[str, Any]]:
    """What the intervention changes at the last block, by body; distances in the environment's units."""
    gone = asked.body if asked.way == "remove" else None

    def apart(one_HO2: np.ndarray, other_HO2: np.ndarray, body: int) -> float | None:
        gap = float(np.linalg.norm(one_HO2[-1, body] - other_HO2[-1, body]))
        return round(gap, 1) if np.isfinite(gap) else None

    return [
        {
            "body": body,
            "true_effect": None if body == gone else apart(found.true, found.true_factual, body),
            "predicted_effect": apart(found.predicted, found.factual, body),
            "error": None if body == gone else apart(found.predicted, found.true, body),
            "factual_error": apart(found.factual, found.true_factual, body),
        }
        for body in bodies
    ]


def _agreement(scene: Scene, influence_OO: np.ndarray | None) -> dict[str, int] | None:
    """How many of the strongest influences are true, of as many as there are in the contact graph."""
    if influence_OO is None:
        return None
    known_OO = ~np.isnan(influence_OO)
    true_N, score_N = scene.contact_hops[known_OO] > 0, influence_OO[known_OO]
    edges = int(true_N.sum())
    return {"edges": edges, "hits": int(true_N[np.argsort(-score_N, kind="stable")[:edges]].sum())}
