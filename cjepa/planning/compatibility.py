"""Whether a world model can act in an environment: sizes, and the units of actions and proprioception."""

import numpy as np
import torch
from torch import Tensor

from cjepa.data.store.episodes import Episodes
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError
from cjepa.planning.blocks import ActionBlocks
from cjepa.policies.base import GoalPolicy
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import fingerprint
from cjepa.types import Clip
from cjepa.world_models.dynamics import Dynamics
from cjepa.world_models.macro import MacroDynamics

_FURTHEST_SCALES = 20.0  # of a bound from what was trained on, whose own values stay within 5
_NARROWEST_SCALES = 0.2  # between the bounds: a policy that fills its bounds evenly covers 3.5
_NARROWEST_PROPRIO_SCALES = 0.02  # between all states: where a model was trained they cover more than 1


def check_fits(dynamics: Dynamics, env: ObjectEnv, blocks: ActionBlocks, where: str) -> None:
    """Check that a world model takes the environment's actions and proprioception.

    Args:
        dynamics: the world model.
        env: to act in.
        blocks: of its actions.
        where: the world model is from.

    Raises:
        UserError: another number of action or proprio values, actions in other units, or macro-actions.
    """
    if isinstance(dynamics, MacroDynamics):
        raise UserError(f"{where}: macro-actions cannot be executed; give it as --hierarchy.run, beside a world model")
    if blocks.action_values != dynamics.action_dim:
        raise UserError(
            f"frame_stride {blocks.frame_stride} gives {blocks.action_values} action values per block, {where} was "
            f"trained with {dynamics.action_dim}"
        )
    check_proprio_width(dynamics, env, where)
    check_units(dynamics, blocks, where)


def check_policy(policy: GoalPolicy, dynamics: Dynamics, where: str) -> None:
    """Check that a policy can act in a world model's imagination.

    Raises:
        UserError: it takes other tokens, other actions, or proprioception that the world model does not predict.
    """
    for name in ("token_dim", "action_dim", "proprio_dim"):
        found, expected = getattr(policy, name), getattr(dynamics, name)
        if found != expected and not (name == "proprio_dim" and found == 0):
            raise UserError(
                f"--prior {where}: its {name} is {found}, but that of the world model is {expected}; train the policy "
                "on the tokens of the world model"
            )


def check_tokens(file: Episodes, tokenizer: Tokenizer, option: str) -> None:
    """Check that a file holds the tokens of a world model's tokenizer.

    Args:
        file: that was given.
        tokenizer: of the world model.
        option: that gave it, for messages.

    Raises:
        UserError: it holds no tokens, or those of another tokenizer.
    """
    found, expected = file.attributes.get("tokenizer_fingerprint"), fingerprint(tokenizer)
    if found != expected:
        raise UserError(
            f"{option} {file.path}: its tokens are of tokenizer {found}, those of the world model of {expected}; give "
            "the token file that the world model was trained on"
        )
    file.require("tokens")


def check_proprio_width(dynamics: Dynamics, env: ObjectEnv, where: str) -> None:
    """Check that a world model takes as many values of proprioception as the environment has, or none.

    Raises:
        UserError: it takes another number.
    """
    found = len(env.proprio())
    if dynamics.proprio_dim not in (0, found):
        raise UserError(
            f"{type(env).__name__} has {found} proprio values, {where} was trained with {dynamics.proprio_dim}; train "
            "it on episodes of this environment, or with proprio_dim 0"
        )


def check_units(dynamics: Dynamics, blocks: ActionBlocks, where: str) -> None:
    """Check that the bounds of the actions are in the units that a world model was trained on.

    Raises:
        UserError: they are far outside of what it has seen, or only a small part of it.
    """
    low_A, high_A = (_in_scales(dynamics, bound_A) for bound_A in blocks.bounds())
    furthest = torch.maximum(low_A.abs(), high_A.abs()).max()
    narrowest = (high_A - low_A).min()
    if furthest > _FURTHEST_SCALES or narrowest < _NARROWEST_SCALES:
        raise UserError(
            f"{where} was trained on actions in other units than the environment's: the bounds {blocks.low.tolist()} "
            f"to {blocks.high.tolist()} are {low_A.min():.3g} to {high_A.max():.3g} standard deviations from the mean "
            "of the trained actions; train it on episodes of this environment, or convert the actions"
        )


def check_proprio_units(dynamics: Dynamics, proprio_NP: np.ndarray, where: str) -> None:
    """Check that an environment's proprioception is in the units that a world model was trained on.

    Args:
        dynamics: the world model; nothing is checked if it takes no proprioception.
        proprio_NP: of the environment, in states from many episodes.
        where: the world model is from.

    Raises:
        UserError: values are far outside of what the model has seen, or all of them in a small part of it.
    """
    if not dynamics.proprio_dim or not len(proprio_NP):
        return
    scaled_NP = _normalised(dynamics, torch.from_numpy(proprio_NP).float(), proprio=True)
    widest = (scaled_NP.amax(dim=0) - scaled_NP.amin(dim=0)).max()
    # values that never change, as where nobody acts, have no units
    if scaled_NP.abs().max() > _FURTHEST_SCALES or 0 < widest < _NARROWEST_PROPRIO_SCALES:
        raise UserError(
            f"{where} was trained on proprio values in other units than the environment's, which are "
            f"{scaled_NP.min():.3g} to {scaled_NP.max():.3g} standard deviations from the mean of the trained ones; "
            "train it on episodes of this environment, or with proprio_dim 0"
        )


def _in_scales(dynamics: Dynamics, actions_A: Tensor) -> Tensor:
    """Actions in the model's own units, on the CPU."""
    return _normalised(dynamics, actions_A[None])[0]


@torch.no_grad()
def _normalised(dynamics: Dynamics, values_NC: Tensor, proprio: bool = False) -> Tensor:
    """Rows of action values, or of proprioception, in the model's own units, on the CPU."""
    rows = len(values_NC)
    tokens = torch.zeros(1, rows, 1, dynamics.token_dim)
    others = torch.zeros(1, rows, dynamics.action_dim if proprio else dynamics.proprio_dim)
    clip = Clip(tokens, *((values_NC[None], others) if proprio else (others, values_NC[None])))
    like = next(iter(dynamics.buffers()), values_NC)
    normalised = dynamics.normalise(clip.on(like.device))
    return (normalised.proprio_BTP if proprio else normalised.actions_BTA)[0].cpu()
