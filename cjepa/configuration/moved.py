"""Where classes were before they moved: class paths stand in checkpoints, exported models and users' YAMLs.

To move a class, add one line to ``MOVED``; everything that was written before then still loads.
"""

import functools
from typing import Any

MOVED = {
    # a module, or a class of a module that stayed; in 0.3.0:
    "cjepa.callbacks.FiniteTraining": "cjepa.running.finite_training.FiniteTraining",
    "cjepa.data.clips": "cjepa.data.video_clips",
    "cjepa.data.modules": "cjepa.data.token_clips",
    "cjepa.envs.collide_policy": "cjepa.envs.collide.policy",
    "cjepa.envs.policies.PushTBehaviour": "cjepa.envs.pusht.policy.PushTBehaviour",
    "cjepa.planning.agents.WorldModelAgent": "cjepa.planning.world_model_agent.WorldModelAgent",
    "cjepa.planning.demonstrators": "cjepa.planning.demonstrators.simulator_mpc",
    "cjepa.planning.planners": "cjepa.planning.planners.cem",
    "cjepa.reporting.fit.SlotOverlays": "cjepa.reporting.slots.SlotOverlays",
    "cjepa.tokenizers.decoders": "cjepa.tokenizers.baselines.decoders",
    "cjepa.tokenizers.global_token": "cjepa.tokenizers.baselines.global_token",
    "cjepa.tokenizers.initialisers": "cjepa.tokenizers.baselines.initialisers",
    "cjepa.tokenizers.jepa.pretrained": "cjepa.tokenizers.pretrained",
    "cjepa.tokenizers.patches": "cjepa.tokenizers.baselines.patches",
    "cjepa.tokenizers.queries": "cjepa.tokenizers.baselines.queries",
    "cjepa.tokenizers.savi": "cjepa.tokenizers.baselines.savi",
    "cjepa.tokenizers.slots": "cjepa.tokenizers.slots.tokenizer",
    "cjepa.tokenizers.starts": "cjepa.tokenizers.slots.starts",
    "cjepa.tokenizers.videosaur": "cjepa.tokenizers.baselines.videosaur",
    "cjepa.world_models.module": "cjepa.world_models.training",
    "cjepa.world_models.predictor": "cjepa.world_models.predictors.entity_transformer",
    # after 0.7.0:
    "cjepa.callbacks": "cjepa.running.callbacks",
    "cjepa.finite_training": "cjepa.running.finite_training",
}
DROPPED = {"cjepa.evaluation.metrics.SlotConsistency": ("num_labels",)}
"""Arguments that classes took before; they are left out of what is read."""
_ORIGINAL = {new: old for old, new in MOVED.items()}


def current(value: Any) -> Any:
    """``value`` with every class in it, at any depth of lists and dicts, named and called as it is today."""
    return _without_dropped(_renamed(value, MOVED))


def original(value: Any) -> Any:
    """``value`` with every class path as it was first; fingerprints of configs then survive a move."""
    return _renamed(value, _ORIGINAL)


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(entry, names) for key, entry in value.items()}
    if isinstance(value, list):
        return [_renamed(entry, names) for entry in value]
    if not isinstance(value, str) or not value.startswith("cjepa."):
        return value
    if value in names:
        return names[value]
    module, _, name = value.rpartition(".")
    # `cjepa.planning.planners` is a module of before and a folder of today: only a class can follow a module
    return f"{names[module]}.{name}" if module in names and name[:1].isupper() else value


def _without_dropped(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_dropped(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    found = {key: _without_dropped(entry) for key, entry in value.items()}
    dropped = DROPPED.get(class_path) if isinstance(class_path := found.get("class_path"), str) else None
    if dropped and isinstance(found.get("init_args"), dict):
        found["init_args"] = {name: entry for name, entry in found["init_args"].items() if name not in dropped}
    return found


@functools.cache
def teach_parsers() -> None:
    """Have jsonargparse read YAML within the bounds of `parse_yaml`, and old class paths in it as those of today.

    Words of a command line take `current`. ``None`` is null: so jsonargparse writes it for an option that is two or
    more classes deep.
    """
    import yaml
    from jsonargparse import get_loader, set_loader

    from cjepa.configuration.yaml_files import parse_yaml

    load = get_loader("yaml")

    def read(text: str) -> Any:
        return None if text == "None" else current(parse_yaml(text, load))

    set_loader("yaml", read, (yaml.YAMLError,))
