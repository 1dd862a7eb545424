"""What several verbs ask of their options."""

from collections.abc import Mapping
from typing import Any

from cjepa.shell import as_typed

_EXPERIMENTS = {"cjepa/PushT-v0": "experiments/pusht", "cjepa/Collide-v0": "experiments/collide"}


def next_fit(attributes: Mapping[str, Any], config: str, data: str, *options: object) -> str | None:
    """The `cjepa fit` that comes next; None where this project has no YAMLs for the environment.

    Args:
        attributes: of the episodes, or of what made them.
        config: name of the YAML.
        data: file to train on.
        options: words that follow.
    """
    folder = _EXPERIMENTS.get(attributes.get("env_id", ""))
    return folder and as_typed("cjepa", "fit", "-c", f"{folder}/{config}", "--data.init_args.path", data, *options)
