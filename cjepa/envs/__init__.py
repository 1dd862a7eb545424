"""Gymnasium environments with objects; importing this package registers them."""

import importlib
import inspect
import re
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator, register, registry

from cjepa.configuration.parser_messages import meant
from cjepa.configuration.plain_values import check_plain
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError

_ENVIRONMENTS = {"cjepa/PushT-v0": "cjepa.envs.pusht.env:PushT", "cjepa/Collide-v0": "cjepa.envs.collide.env:Collide"}
_UNKNOWN_ARGUMENT = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")
for _env_id, _entry_point in _ENVIRONMENTS.items():
    if _env_id not in registry:
        register(id=_env_id, entry_point=_entry_point)


def make_env(env_id: str, env_kwargs: dict[str, Any]) -> ObjectEnv:
    """A fresh simulator by its Gymnasium id, without Gymnasium's wrappers.

    Raises:
        UserError: no such environment, it does not take these arguments, one of them is not finite, lacks a method,
            is not an :class:`ObjectEnv`, or its actions have no finite bounds.
    """
    check_plain(f"env_id {env_id}: env_kwargs", env_kwargs)
    _import_module_of(env_id)
    try:
        env = gym.make(env_id, disable_env_checker=True, **env_kwargs).unwrapped
    except UserError:  # says what to install or to change
        raise
    except (gym.error.Error, ImportError, SyntaxError, TypeError, ValueError) as error:
        raise UserError(f"env_id {env_id} with env_kwargs {env_kwargs}: {_said(error)}") from error
    if not isinstance(env, ObjectEnv):
        raise UserError(
            f"env_id {env_id} is a {type(env).__name__}, which is not a subclass of cjepa.envs.base.ObjectEnv; "
            f"docs/add-an-environment.md shows how to write one"
        )
    env.action_bounds()
    return env


def _said(error: Exception) -> str:
    """What Gymnasium or an environment says of a call; what it takes is added."""
    said, _, call = str(error).partition(" was raised from the environment creator for ")
    if isinstance(error, gym.error.UnregisteredEnv):
        return f"no such environment; here are {' and '.join(_ENVIRONMENTS)}, those of a module are named MODULE:ID"
    spec = registry.get(call.partition(" with kwargs ")[0])  # the id that was typed may have a module, or no version
    if spec is not None and (unknown := _UNKNOWN_ARGUMENT.search(said)):
        creator = spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point)
        return f"{unknown[1]} has no option {unknown[2]}{meant(unknown[2], inspect.signature(creator).parameters)}"
    return said


def _import_module_of(env_id: str) -> None:
    """The module before the colon, as Gymnasium does: what goes wrong in there is the user's own."""
    module, colon, _ = env_id.partition(":")
    try:
        if colon:
            importlib.import_module(module)
    except Exception as error:
        raise UserError(f"env_id {env_id}: {module} cannot be imported: {error}") from error
