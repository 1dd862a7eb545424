"""Python use without a command line: pictures and numpy arrays in, numpy arrays out; see docs/python.md.

Tokens are float32 ``(S, D)`` of a picture and ``(T, S, D)`` of a clip. Places are in px: ``(x, y)`` is the centre of
``picture[y, x]``, with x to the right and y down.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cjepa.checkpoints import find_checkpoint
from cjepa.errors import UserError
from cjepa.pictures import read_picture
from cjepa.planning.blocks import ActionBlocks
from cjepa.planning.compatibility import check_units
from cjepa.planning.constraints import Constraint
from cjepa.planning.objectives import LastStepMSE, Objective
from cjepa.planning.perception import Observation
from cjepa.planning.planners.base import Planner
from cjepa.planning.planners.cem import CEM
from cjepa.planning.world_model_agent import WorldModelAgent
from cjepa.quiet import silence_lightning
from cjepa.tokenizers import training
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import device_of, encode_clips
from cjepa.tokenizers.grid import centroids
from cjepa.types import Clip, VideoBatch, to_byte_pixels
from cjepa.world_models import loading
from cjepa.world_models.dynamics import Dynamics

Picture = np.ndarray | str | Path
"""uint8 ``(Y, X, 3)``, or the path of a picture file."""

_OWNED = 0.5  # of a pixel: a slot's faint traces all over the picture would pull its centre to the middle


class Decoded(NamedTuple):
    """What tokens show."""

    pixels: np.ndarray
    """uint8 ``(..., Y, X, 3)``."""
    masks: np.ndarray
    """float32 ``(..., S, Y, X)`` in [0, 1]: how much of a pixel is each object's."""


class Future(NamedTuple):
    """What a world model predicts after each of H blocks of actions."""

    tokens: np.ndarray
    """float32 ``(H, S, D)``, which the model's tokenizer decodes."""
    proprio: np.ndarray
    """float32 ``(H, P)`` in the environment's units; P is 0 for a model without proprioception."""


class PictureTokenizer:
    """A tokenizer for pictures.

    Args:
        tokenizer: in eval mode; its device is the one that is computed on.

    Raises:
        UserError: it needs more than pictures.
    """

    def __init__(self, tokenizer: Tokenizer):
        if tokenizer.info.column != "pixels" or tokenizer.info.hint_dim:
            needs = "label images" if tokenizer.info.hint_dim else "the simulator's objects"
            raise UserError(f"{type(tokenizer).__name__} needs {needs}, not pictures alone; choose another tokenizer")
        self.tokenizer = tokenizer

    def encode(self, pictures: Picture) -> np.ndarray:
        """Tokens of a picture, or of a clip ``(T, Y, X, 3)``, in which a slot follows its object.

        Raises:
            UserError: not a picture or a clip, another dtype, or another size than the tokenizer's.
        """
        pixels = _pixels(pictures, self.tokenizer.image_size)
        clip_TYXC = torch.tensor(pixels if pixels.ndim == 4 else pixels[None])
        tokens_TSD = encode_clips(self.tokenizer, VideoBatch(clip_TYXC[None]))[0].numpy()
        return tokens_TSD if pixels.ndim == 4 else tokens_TSD[0]

    @torch.inference_mode()
    def decode(self, tokens: np.ndarray) -> Decoded:
        """Pictures and masks of tokens, encoded or predicted.

        Raises:
            UserError: tokens of another shape, or the tokenizer has no decoder.
        """
        tokens = np.asarray(tokens, np.float32)
        shape = (self.tokenizer.num_slots, self.tokenizer.slot_dim)
        if tokens.ndim not in (2, 3) or tokens.shape[-2:] != shape:
            raise UserError(f"tokens of shape {tokens.shape}, expected {shape} or (T, {shape[0]}, {shape[1]})")
        tokens_TSD = torch.tensor(tokens if tokens.ndim == 3 else tokens[None], device=device_of(self.tokenizer))
        decoded = self.tokenizer.decode(tokens_TSD[None])
        if decoded is None:
            raise UserError(f"{type(self.tokenizer).__name__} has no decoder: no pictures, masks or places of tokens")
        pixels, masks = to_byte_pixels(decoded[0])[0].cpu().numpy(), decoded[1][0].float().cpu().numpy()
        return Decoded(pixels, masks) if tokens.ndim == 3 else Decoded(pixels[0], masks[0])

    def places(self, tokens: np.ndarray) -> np.ndarray:
        """Centres of the objects in px, float32 ``(..., S, 2)``; NaN for a slot that shows nothing.

        Args:
            tokens: as :meth:`decode` takes them.

        Raises:
            UserError: as :meth:`decode`.
        """
        masks = torch.from_numpy(self.decode(tokens).masks)
        owned = masks * (masks > _OWNED)
        sides_2 = torch.tensor([masks.shape[-1], masks.shape[-2]])
        places = (centroids(owned) + 1) / 2 * sides_2 - 0.5
        return torch.where(owned.any(dim=(-2, -1))[..., None], places, torch.nan).numpy()


class PictureWorldModel:
    """A world model that starts from a picture.

    Args:
        dynamics: in eval mode.
        tokenizer: the one whose tokens it was trained on.
    """

    def __init__(self, dynamics: Dynamics, tokenizer: PictureTokenizer):
        self.dynamics = dynamics
        self.tokenizer = tokenizer

    @torch.inference_mode()
    def rollout(self, picture: Picture, actions: np.ndarray, proprio: Sequence[float] | None = None) -> Future:
        """What follows if actions are taken.

        Args:
            picture: what is seen now.
            actions: one row per env step ``(env steps, action_dim)``, in the environment's units, for whole blocks.
            proprio: ``(P,)`` values of now; None for a model without proprioception.

        Raises:
            UserError: a picture, actions or proprio of another shape than the model's.
        """
        device = device_of(self.dynamics)
        tokens_SD = torch.from_numpy(self.tokenizer.encode(_one_picture(picture)))
        actions_HA = self._blocks(actions)
        unread_A = torch.zeros(self.dynamics.action_dim)  # the last row of a clip's actions
        proprio_P = torch.from_numpy(self.checked_proprio(proprio, "proprio"))
        context = Clip(*(values[None, None].to(device) for values in (tokens_SD, proprio_P, unread_A)))
        with torch.autocast(device.type, torch.bfloat16):
            rollout = self.dynamics.rollout(self.dynamics.observe(context), actions_HA[None].to(device))
        predicted = self.dynamics.denormalise(rollout)
        tokens_1HSD, proprio_1HP = predicted.tokens_BHSD, predicted.proprio_BHP
        return Future(*(values[0].float().cpu().numpy() for values in (tokens_1HSD, proprio_1HP)))

    def checked_proprio(self, proprio: Sequence[float] | None, name: str) -> np.ndarray:
        """float32 ``(P,)``.

        Raises:
            UserError: another number of values than the model's, or one is not finite.
        """
        values = np.asarray([] if proprio is None else proprio, np.float32)
        wanted = self.dynamics.proprio_dim
        if values.shape != (wanted,) or not np.isfinite(values).all():
            found = "missing" if proprio is None else f"{np.asarray(proprio).tolist()}"
            raise UserError(f"{name} is {found}; this model takes {wanted} finite values, as in its episodes")
        return values

    def _blocks(self, actions: np.ndarray) -> Tensor:
        values, width = np.asarray(actions, np.float32), self.dynamics.action_dim
        if values.ndim != 2 or not values.size or values.size % width or width % values.shape[1]:
            raise UserError(
                f"actions of shape {values.shape}, expected (env steps, action_dim) for whole blocks of {width} values"
            )
        if not np.isfinite(values).all():
            raise UserError("actions contain NaN or infinite values")
        return torch.tensor(values).reshape(-1, width)


def load_tokenizer(run: str | Path) -> PictureTokenizer:
    """A trained tokenizer, on the CPU.

    Args:
        run: ``zoo:NAME``, a run folder, an exported folder or a checkpoint.

    Raises:
        UserError: it is missing, damaged, not a tokenizer's, or needs more than pictures.
    """
    with warnings.catch_warnings():
        silence_lightning()
        return PictureTokenizer(training.load_tokenizer(run))


def load_world_model(run: str | Path) -> PictureWorldModel:
    """A trained world model with its tokenizer, on the CPU.

    Args:
        run: ``zoo:NAME``, a run folder, an exported folder or a checkpoint.

    Raises:
        UserError: it is missing, damaged or not a world model's, or its tokenizer has changed or needs more than
            pictures.
    """
    with warnings.catch_warnings():
        silence_lightning()
        loaded = loading.load_world_model(find_checkpoint(str(run)))
    return PictureWorldModel(loaded.dynamics, PictureTokenizer(loaded.tokenizer))


def plan_to(
    model: PictureWorldModel,
    picture: Picture,
    goal: Picture,
    bounds: tuple[Sequence[float], Sequence[float]],
    proprio: Sequence[float] | None = None,
    proprio_at_goal: Sequence[float] | None = None,
    goal_proprio: Sequence[int] | None = None,
    horizon_blocks: int = 5,
    planner: Planner | None = None,
    objective: Objective | None = None,
    constraints: Sequence[Constraint] = (),
    seed: int = 0,
) -> np.ndarray:
    """Actions that lead from a picture towards a goal picture, by the model's predictions.

    Args:
        model: that predicts.
        picture: what is seen now.
        goal: what should be seen after the plan.
        bounds: lowest and highest action of one env step, ``(action_dim,)`` each, as ``env.action_bounds()`` gives.
        proprio: ``(P,)`` values of now; None for a model without proprioception.
        proprio_at_goal: ``(P,)`` values at the goal; None if the picture alone is the goal.
        goal_proprio: indices of the values that the goal fixes, as in ``env.goal_proprio``; None for all.
        horizon_blocks: H.
        planner: that searches; None for CEM with 300 samples and 30 iterations.
        objective: of predicted futures; None for :class:`~cjepa.planning.objectives.LastStepMSE`.
        constraints: of plans, besides the bounds.
        seed: of the search.

    Returns:
        float32 ``(env steps, action_dim)``: H blocks, in time order.

    Raises:
        UserError: pictures, bounds or proprio of another shape than the model's, bounds in other units than those of
            its training, or the model predicts only NaN.
    """
    if horizon_blocks < 1:
        raise UserError(f"horizon_blocks is {horizon_blocks}, expected 1 or more")
    blocks = _action_blocks(bounds, model.dynamics.action_dim)
    check_units(model.dynamics, blocks, "the world model")
    parts = (model.dynamics, model.tokenizer.tokenizer, planner or CEM(), objective or LastStepMSE())
    now_P = model.checked_proprio(proprio, "proprio")
    goal_P = np.full_like(now_P, np.nan)  # a picture does not show it
    if proprio_at_goal is not None:
        goal_P = model.checked_proprio(proprio_at_goal, "proprio_at_goal")
    agent = WorldModelAgent(*parts, blocks, horizon_blocks, goal_proprio, constraints=constraints)
    agent.reset(_observation(model, goal, goal_P))
    agent.observe(_observation(model, picture, now_P))
    return blocks.to_env_steps(agent.plan(torch.Generator().manual_seed(seed)).actions_BHA)[0]


def _observation(model: PictureWorldModel, picture: Picture, proprio_P: np.ndarray) -> Observation:
    """Without what only simulators know."""
    pixels_YXC = _pixels(_one_picture(picture), model.tokenizer.tokenizer.image_size)
    return Observation(pixels_YXC[None], np.zeros((1, 0, 0), np.float32), proprio_P[None], np.zeros((1, 0)))


def _action_blocks(bounds: tuple[Sequence[float], Sequence[float]], action_values: int) -> ActionBlocks:
    """Blocks of as many env steps as a world model takes at a time."""
    low_A, high_A = (np.asarray(bound, np.float32) for bound in bounds)
    if low_A.shape != high_A.shape or low_A.ndim != 1 or not low_A.size or action_values % low_A.size:
        raise UserError(
            f"bounds of shapes {low_A.shape} and {high_A.shape}, expected (action_dim,) twice; this model takes "
            f"{action_values} action values per block"
        )
    if not np.isfinite(high_A - low_A).all() or not (low_A <= high_A).all():
        raise UserError(f"bounds {low_A.tolist()} to {high_A.tolist()}, expected finite values, low <= high")
    return ActionBlocks(low_A, high_A, action_values // low_A.size)


def _pixels(pictures: Picture, side: int | None) -> np.ndarray:
    """uint8 ``(Y, X, 3)`` or ``(T, Y, X, 3)``, with the side that is needed."""
    is_file = isinstance(pictures, (str, Path))
    pixels = read_picture(Path(pictures)) if is_file else np.asarray(pictures)
    where = str(pictures) if is_file else "picture"
    if pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or not pixels.size:
        raise UserError(f"{where}: an array of shape {pixels.shape}, expected (Y, X, 3), or (T, Y, X, 3) for a clip")
    if pixels.dtype != np.uint8:
        raise UserError(f"{where}: values of dtype {pixels.dtype}, expected uint8 from 0 to 255")
    height, width = pixels.shape[-3:-1]
    if side is not None and (height, width) != (side, side):
        raise UserError(f"{where}: {width} x {height} px, but this tokenizer needs {side} x {side}; resize it")
    return pixels


def _one_picture(picture: Picture) -> Picture:
    if not isinstance(picture, (str, Path)) and np.ndim(picture) != 3:
        raise UserError(f"picture: an array of shape {np.shape(picture)}, expected one picture (Y, X, 3)")
    return picture
