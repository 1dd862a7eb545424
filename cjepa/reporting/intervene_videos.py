"""Scenes as videos: true and predicted, with and without an intervention, beside the contact graph and the influences.

File letter: T frames, the last of the history and one per predicted block.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cjepa.envs.interventions import Intervention, InterventionEnv
from cjepa.evaluation.interventions.card import InterventionResult
from cjepa.evaluation.interventions.counterfactuals import EMPTY, latent_intervention
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.removal import why_no_removal
from cjepa.interventions.edits import imagine
from cjepa.interventions.quantities import Quantity, empty_token
from cjepa.reporting.plan_places import mark_places
from cjepa.reporting.scene_graphs import busiest_scenes, influences_of, scene_colours, shown_estimates, worst_scenes
from cjepa.reporting.videos import side_by_side, with_footer, write_video
from cjepa.tokenizers.encode import device_of
from cjepa.types import Clip, Rollout, to_byte_pixels
from cjepa.world_models.dynamics import split_clip, take_rows

_SCALE = 3
_FPS = 4
_NEUTRAL = 225
"""Grey of cells that say nothing: the diagonal, and bodies that no slot shows."""
_INK = np.array([30, 60, 110])
"""RGB of the largest influence."""


def write_scene_videos(folder: Path, result: InterventionResult, count: int) -> None:
    """Videos of the scenes with most true edges, of different episodes, and of the one where the model is worst.

    Panels: the simulator, the prediction, both again without the body that influences most others (in environments with
    interventions), then matrices: the contact graph, the best estimate, and attention where the model has any. Row: who
    is influenced; column: by whom.

    Args:
        folder: to write into.
        result: with the scenes.
        count: of scenes with most true edges; 0 for no video at all.
    """
    pairs, lab = result.pairs, result.lab
    busiest_B = busiest_scenes(pairs, len(lab.test.episode_B))
    first_of_each = np.unique(lab.test.episode_B[busiest_B], return_index=True)[1]
    names = {int(scene): f"scene{scene:03d}" for scene in busiest_B[np.sort(first_of_each)[:count]]}
    worst = worst_scenes(pairs, result.best)[:1] if result.best is not None and count else ()
    names |= {int(scene): f"worst-scene{scene:03d}" for scene in worst}
    for scene, name in names.items():
        panels = scene_panels(result, scene)
        video = side_by_side(list(panels.values()), list(panels), _SCALE)
        episode, start = lab.test.episode_B[scene], lab.test.start_B[scene]
        texts = [f"episode {episode}, env step {start}, block {block} after the history" for block in range(len(video))]
        write_video(folder / f"{name}.mp4", with_footer(video, texts), _FPS)


def scene_panels(result: InterventionResult, scene: int) -> dict[str, np.ndarray]:
    """Frames by caption, uint8 ``(T, Y, X, 3)``; matrices have a single frame."""
    lab, slot_O = result.lab, result.lab.test.slot_BO[scene]
    panels = scene_films(lab, result.place, scene)
    true_TYXC = panels["true"]
    colours_OC, side = scene_colours(lab, scene), true_TYXC.shape[1]
    known_OO = (slot_O >= 0)[:, None] & (slot_O >= 0) & ~np.eye(len(slot_O), dtype=bool)
    contact_OO = np.where(known_OO, lab.test.hops_BOO[scene] > 0, np.nan)
    panels["contact graph"] = matrix_picture(contact_OO, colours_OC, side)[None]
    for name in shown_estimates(result.pairs, result.best):
        panels[name] = matrix_picture(influences_of(result.pairs, name, scene, len(slot_O)), colours_OC, side)[None]
    return panels


@torch.no_grad()
def scene_films(lab: Laboratory, place: Quantity, scene: int) -> dict[str, np.ndarray]:
    """True and predicted frames by caption, uint8 ``(T, Y, X, 3)``.

    In environments with interventions also those without the body that influences most others.

    Args:
        lab: the model, and the simulator with its test scenes.
        place: where tokens hold it.
        scene: index of a test scene.
    """
    scenes, slot_O = lab.test, lab.test.slot_BO[scene]
    true_TYXC = _simulated(lab, scene, None)
    colours_OC = scene_colours(lab, scene)
    history, actions_BHA, _ = split_clip(lab.dynamics, take_rows(scenes.clip, slice(scene, scene + 1)))
    device = device_of(lab.dynamics)
    history, actions_BHA = history.on(device), actions_BHA.to(device)
    body = _most_influential(scenes.hops_BOO[scene], slot_O, _free(lab, scene))
    if body is None:
        rollout = lab.dynamics.rollout(lab.dynamics.observe(history), actions_BHA)
        predicted_TYXC = _seen(lab, place, history, rollout, true_TYXC, colours_OC, slot_O)
        return {"true": true_TYXC, "predicted": predicted_TYXC}
    way = "remove" if why_no_removal(lab) is None else EMPTY
    edit = latent_intervention(lab, way, torch.tensor([slot_O[body]]), torch.zeros(1, 2), history, place)
    factual, changed = imagine(lab.dynamics, history, actions_BHA, edit)
    without_TYXC = _simulated(lab, scene, Intervention("remove", body, 0))
    others_O = np.where(np.arange(len(slot_O)) == body, -1, slot_O)
    return {
        "true": true_TYXC,
        "predicted": _seen(lab, place, history, factual, true_TYXC, colours_OC, slot_O),
        f"true, body {body} removed": without_TYXC,
        f"predicted, body {body} removed": _seen(lab, place, history, changed, without_TYXC, colours_OC, others_O),
    }


def matrix_picture(values_OO: np.ndarray, colours_OC: np.ndarray, side: int) -> np.ndarray:
    """A matrix with the colours of the bodies above and on the left, uint8 ``(side, side, 3)``.

    Args:
        values_OO: at least 0; white for 0, dark for the largest, grey for NaN.
        colours_OC: RGB of the bodies.
        side: in pixels; what the cells leave of it is white.
    """
    bodies = len(values_OO)
    most = np.nanmax(values_OO, initial=0) if np.isfinite(values_OO).any() else 0
    share_OO1 = np.clip(np.nan_to_num(values_OO) / (most or 1), 0, 1)[..., None]
    cells = np.full((bodies + 1, bodies + 1, 3), 255.0)
    cells[1:, 1:] = np.where(np.isnan(values_OO)[..., None], _NEUTRAL, 255 + share_OO1 * (_INK - 255))
    cells[0, 1:] = cells[1:, 0] = colours_OC
    cell = side // (bodies + 1)
    picture = np.full((side, side, 3), 255, np.uint8)
    drawn = cells.round().astype(np.uint8).repeat(cell, axis=0).repeat(cell, axis=1)
    picture[: len(drawn), : len(drawn)] = drawn
    return picture


def _most_influential(hops_OO: np.ndarray, slot_O: np.ndarray, free: list[int]) -> int | None:
    """Of the bodies that may be removed and are shown, the one that influences most others; None without any."""
    shown = [body for body in free if slot_O[body] >= 0]
    return max(shown, key=lambda body: int((hops_OO[:, body] > 0).sum()), default=None)


def _free(lab: Laboratory, scene: int) -> list[int]:
    if not isinstance(lab.env, InterventionEnv) or (lab.test.slot_BO[scene] >= 0).sum() < 2:
        return []  # the model would have no object left
    lab.env.set_state(lab.test.state_BF[scene])
    return lab.env.free_bodies()


def _simulated(lab: Laboratory, scene: int, intervention: Intervention | None) -> np.ndarray:
    """Frames of the simulator, ``(T, Y, X, 3)``."""
    lab.env.set_state(lab.test.state_BF[scene])
    if intervention is not None:
        lab.env.intervene(intervention)
    frames = [lab.env.render_pixels()]
    for action in lab.test.action_BTA[scene]:
        lab.env.advance(action)
        frames.append(lab.env.render_pixels())
    return np.stack(frames)[:: lab.frame_stride]


def _seen(
    lab: Laboratory,
    place: Quantity,
    history: Clip,
    rollout: Rollout,
    true_TYXC: np.ndarray,
    colours_OC: np.ndarray,
    slot_O: np.ndarray,
) -> np.ndarray:
    """A rollout as frames: decoded, or places of the bodies on the pale true frames."""
    predicted_1HSD = lab.dynamics.denormalise(rollout).tokens_BHSD
    tokens_1TSD = torch.cat([history.tokens_BTSD[:, -1:], predicted_1HSD.float()], dim=1)
    decoded = lab.tokenizer.decode(_without_nan(lab, tokens_1TSD))
    if decoded is not None:
        return to_byte_pixels(decoded[0][0]).cpu().numpy()
    shown_O = slot_O >= 0
    low, high = lab.env.table
    place_TO2 = place.read(tokens_1TSD[0]).double().cpu().numpy()[:, slot_O[shown_O]]
    return mark_places(true_TYXC, (place_TO2 - low) * true_TYXC.shape[1] / (high - low), colours_OC[shown_O])


def _without_nan(lab: Laboratory, tokens_1TSD: Tensor) -> Tensor:
    """Tokens with an empty slot in place of a removed object."""
    empty_D = empty_token(lab.tokenizer)
    filled = tokens_1TSD.new_zeros(tokens_1TSD.shape[-1]) if empty_D is None else empty_D.to(tokens_1TSD)
    removed_1S1 = tokens_1TSD.isnan().any(dim=-1, keepdim=True).any(dim=1, keepdim=True)
    return torch.where(removed_1S1, filled, tokens_1TSD)
