"""Answers of the page for an environment with goals: what a planner tries, and what the simulator makes of its plan."""

import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.configuration.run_config import data_options
from cjepa.errors import UserError
from cjepa.evaluation.bodies import body_slots, places
from cjepa.evaluation.interventions.counterfactuals import simulated
from cjepa.evaluation.planning.models import open_model
from cjepa.evaluation.planning.pairs import (
    Pair,
    Pairs,
    check_proprio,
    common_to,
    draw_pairs,
    held_out_from,
    held_out_from_objectives,
)
from cjepa.evaluation.planning.plant import error_names, observe
from cjepa.evaluation.planning.protocol import PlanningProtocol
from cjepa.explorer.pictures import centres, cut_out, data_url, drawing_of, plain, without_bodies
from cjepa.explorer.settings import PlansSettings, plans_settings
from cjepa.interventions.quantities import WavePlace, exact_place
from cjepa.planning.costs import checked_plan
from cjepa.planning.objectives import Objective
from cjepa.planning.perception import Observation
from cjepa.planning.planners.base import Planner
from cjepa.planning.recording import RecordedCost, recorded_plan
from cjepa.planning.world_model_agent import WorldModelAgent

_KEPT_SEARCHES = 32
_MOST_BLOCKS = 10
_DRAWN = 60
"""Candidates of an iteration that the page draws: half of them the best, the others spread evenly by cost."""


class _Search(NamedTuple):
    """One search for one pair."""

    agent: WorldModelAgent
    start: Observation
    tried: RecordedCost
    plan_HA: Tensor
    cost: float


class PlansExplorer:
    """Answers what the page asks of a world model and a planner; one question at a time.

    Args:
        protocol: of the pairs.
        checkpoint: of the world model, whose tokens hold places.
        name: of the model.
        planner: of action blocks.
        objective: of predicted futures.
        horizon_blocks: of plans, unless the page asks for others.

    Raises:
        UserError: the model does not fit the episodes, or its tokens hold no places of objects.
    """

    page = "plans"

    def __init__(
        self,
        protocol: PlanningProtocol,
        checkpoint: Path,
        name: str,
        planner: Planner,
        objective: Objective,
        horizon_blocks: int,
    ):
        self.name, self.planner, self.objective, self.horizon_blocks = name, planner, objective, horizon_blocks
        self.model = open_model(protocol, checkpoint, "cpu")
        protocol, file, loaded, env, _ = self.model
        sources = [("world model", held_out_from(file, loaded.lineage, data_options(checkpoint), protocol.split))]
        sources += held_out_from_objectives(file, [(objective, loaded.lineage)], protocol.split)
        source = common_to(file, sources)
        self.account = source.account
        drawn = (file, source.episodes, env, protocol.pairs, protocol.goal_env_steps, protocol.seed)
        self.pairs: Pairs = draw_pairs(*drawn)
        check_proprio(loaded.dynamics, file, env, str(checkpoint))
        place = None if env.table is None else exact_place(loaded.tokenizer, env.table[1])
        if place is None or {"x", "y"} - set(env.attribute_names):
            raise UserError(
                f"{checkpoint}: tokens of {type(loaded.tokenizer).__name__} do not hold where an object is, so that no "
                "candidate can be drawn; give a model of slots or of oracle tokens"
            )
        self.place, self._drawing = place, drawing_of(env)
        self._search = lru_cache(_KEPT_SEARCHES)(self._new_search)

    def about(self) -> dict[str, Any]:
        """What is the same in every answer."""
        env, low_high = self.model.env, self.model.env.table
        return {
            "model": self.name,
            "held_out": self.account,
            "planner": type(self.planner).__name__,
            "pairs": len(self.pairs.trials),
            "frame_stride": self.model.blocks.frame_stride,
            "block_seconds": self.model.blocks.frame_stride / env.env_steps_per_second,
            "history": 1,
            "low": low_high[0],
            "side": low_high[1] - low_high[0],
            "unit": env.length_unit,
            "names": dict(enumerate(env.body_names)),
        }

    @torch.no_grad()
    def answer(self, query: Mapping[str, str]) -> dict[str, Any]:
        """All that the page shows for the settings of a query, ready for JSON.

        Raises:
            UserError: settings that make no sense, or no slot shows the bodies of this pair.
        """
        started = time.perf_counter()
        asked = self._completed(plans_settings(query))
        pair, search = self.pairs.trials[asked.pair], self._search(asked.pair, asked.horizon, asked.seed)
        iterations = len(search.tried.calls)
        iteration = iterations - 1 if asked.iteration is None else asked.iteration
        if not 0 <= iteration < iterations:
            raise UserError(f"iteration {iteration}: expected 0..{iterations - 1}")
        slots = body_slots(self.model.loaded.tokenizer, self.model.env, search.start)
        if not slots:
            raise UserError(f"pair {asked.pair}: no slot shows each of its bodies; choose another pair")
        actions_NHA, cost_N = drawn_candidates(*search.tried.calls[iteration])
        names = self.model.env.body_names
        bodies = [body for body, name in enumerate(names) if name in slots]
        slot_O = [slots[names[body]] for body in bodies]
        now_O2 = self._places(pair.start_state)[bodies]
        paths_NTO2 = self._paths(search.agent, actions_NHA, slot_O, now_O2)
        best_TO2 = self._paths(search.agent, search.plan_HA[None], slot_O, now_O2)[0]
        return {
            "about": self.about(),
            "settings": asked._replace(iteration=iteration)._asdict(),
            "limits": {"horizon": max(_MOST_BLOCKS, self.horizon_blocks), "iteration": iterations - 1},
            "episode": pair.episode,
            "bodies": bodies,
            "candidates": {"cost": plain(cost_N.numpy(), 5), "paths": plain(paths_NTO2)},
            "best_cost": plain(np.array([float(c.nan_to_num(nan=torch.inf).min()) for _, c in search.tried.calls]), 5),
            "plan": {"cost": round(search.cost, 5), "path": plain(best_TO2)},
            **self._simulated(pair, search.plan_HA),
            "seconds": round(time.perf_counter() - started, 3),
        }

    def _completed(self, asked: PlansSettings) -> PlansSettings:
        """The settings with what was left to us."""
        pairs, horizon = len(self.pairs.trials), asked.horizon
        horizon = self.horizon_blocks if horizon is None else horizon
        if not 0 <= asked.pair < pairs:
            raise UserError(f"pair {asked.pair}: expected 0..{pairs - 1}")
        longest = max(_MOST_BLOCKS, self.horizon_blocks)
        if not 1 <= horizon <= longest:
            raise UserError(f"horizon {horizon}: expected 1..{longest} blocks")
        if asked.seed < 0:
            raise UserError(f"seed {asked.seed}: expected 0 or more")
        if asked.block is not None and not 0 <= asked.block <= horizon:
            raise UserError(f"block {asked.block}: expected 0..{horizon}")
        return asked._replace(horizon=horizon)

    def _new_search(self, index: int, horizon: int, seed: int) -> _Search:
        _, _, loaded, env, blocks = self.model
        start, goal = (self._seen(state) for state in self._states(index))
        parts = (loaded.dynamics, loaded.tokenizer, self.planner, self.objective, blocks, horizon, env.goal_proprio)
        agent = WorldModelAgent(*parts, lineage=loaded.lineage)
        agent.reset(goal)
        agent.observe(start)
        plan, tried = recorded_plan(self.planner, agent.problem(torch.Generator().manual_seed(seed), horizon))
        checked_plan(plan)
        return _Search(agent, start, tried, plan.actions_BHA[0], float(plan.cost_B[0]))

    def _states(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        pair = self.pairs.trials[index]
        return pair.start_state, pair.goal_state

    def _seen(self, state: np.ndarray) -> Observation:
        self.model.env.set_state(state)
        return observe([self.model.env])

    def _paths(self, agent: WorldModelAgent, actions_NHA: Tensor, slot_O: list[int], now_O2: np.ndarray) -> np.ndarray:
        """Where candidates lead the bodies in the model, ``(N, 1 + H, O, 2)``; they begin where the bodies are."""
        place_NHO2 = self.place.read(agent.imagine_candidates(actions_NHA)[:, :, slot_O]).double().numpy()
        now_N1O2 = np.broadcast_to(now_O2, (len(place_NHO2), 1, *now_O2.shape))
        return np.concatenate([now_N1O2, place_NHO2], axis=1)

    def _simulated(self, pair: Pair, plan_HA: Tensor) -> dict[str, Any]:
        """What the simulator makes of the plan, with pictures."""
        draw, blocks = self._drawing, self.model.blocks
        run = (draw, blocks.frame_stride, pair.start_state, blocks.to_env_steps(plan_HA[None])[0], None)
        frames_TYXC = simulated(*run, draw.render_pixels)
        states_TF = simulated(*run, draw.get_state)
        error_TE = draw.state_error(states_TF, pair.goal_state)
        terms = error_names(draw, error_TE.shape[1])
        reached_T = draw.is_success(states_TF, pair.goal_state)
        empty, sprites = self._sprites(pair.start_state)
        return {
            "frames": [data_url(pixels) for pixels in frames_TYXC],
            "background": data_url(empty),
            "sprites": sprites,
            "goal": {"sprites": self._sprites(pair.goal_state)[1], "places": plain(self._places(pair.goal_state))},
            "track": plain(np.stack([self._places(state) for state in states_TF])),
            "reached": int(reached_T.argmax()) if reached_T.any() else None,
            "error_names": terms,
            "tolerances": draw.error_tolerances or ("tolerance",) * len(terms),
            "errors": plain(error_TE),
        }

    def _sprites(self, state: np.ndarray) -> tuple[np.ndarray, dict[int, Any]]:
        """The empty table, and every body cut out of the frame of a state."""
        place_O2, (low, high) = self._places(state), self.model.env.table
        pixels_YXC, labels_YX = self._drawing.render_pixels(), self._drawing.render_labels()
        scale = pixels_YXC.shape[1] / (high - low)
        cut = {body: cut_out(pixels_YXC, labels_YX, body, xy - low, scale) for body, xy in enumerate(place_O2)}
        found = {body: sprite for body, sprite in cut.items() if sprite is not None}
        return without_bodies(pixels_YXC, labels_YX), found

    def _places(self, state: np.ndarray) -> np.ndarray:
        """Where tokens should hold the bodies: slots hold the middle of what is seen, others what the simulator says.

        The simulator is left in the state.
        """
        draw, (low, high) = self._drawing, self.model.env.table
        draw.set_state(state)
        if not isinstance(self.place, WavePlace):
            return places(draw.objects(), draw)
        labels_YX = draw.render_labels()
        return low + centres(labels_YX, len(draw.body_names), labels_YX.shape[1] / (high - low))


def drawn_candidates(actions_NHA: Tensor, cost_N: Tensor) -> tuple[Tensor, Tensor]:
    """At most ``_DRAWN`` of the candidates, best first, and their costs: the best half, and a spread of the others.

    A cost that is not finite counts as the highest.
    """
    order_N = cost_N.nan_to_num(torch.inf, torch.inf).argsort(stable=True)
    if len(order_N) > _DRAWN:
        best, others = order_N[: _DRAWN // 2], order_N[_DRAWN // 2 :]
        picks = torch.linspace(0, len(others) - 1, _DRAWN - len(best)).round().long()
        order_N = torch.cat([best, others[picks]])
    return actions_NHA[order_N], cost_N[order_N]
