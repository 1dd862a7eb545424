"""Gymnasium environments with objects; importing this package registers them."""

from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import register, registry

from cjepa.envs.base import ObjectEnv

if "cjepa/PushT-v0" not in registry:
    register(id="cjepa/PushT-v0", entry_point="cjepa.envs.pusht:PushT")


def make_env(env_id: str, env_kwargs: dict[str, Any]) -> ObjectEnv:
    """A fresh simulator by its Gymnasium id, without Gymnasium's wrappers."""
    return gym.make(env_id, disable_env_checker=True, **env_kwargs).unwrapped
