"""Gymnasium environments with objects; importing this package registers them."""

from gymnasium.envs.registration import register, registry

if "cjepa/PushT-v0" not in registry:
    register(id="cjepa/PushT-v0", entry_point="cjepa.envs.pusht:PushT")
