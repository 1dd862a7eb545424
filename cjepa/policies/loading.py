"""A trained policy back from its checkpoint."""

from pathlib import Path
from typing import Any, NamedTuple

from cjepa.checkpoints import load_module, read_checkpoint
from cjepa.policies.base import GoalPolicy


class LoadedPolicy(NamedTuple):
    """What acting takes; the policy is frozen and in eval mode."""

    policy: GoalPolicy
    tokenizer_fingerprint: str
    """Of the tokens that the policy was trained on."""
    lineage: dict[str, Any]
    """What was held out from training."""


def load_policy(checkpoint: Path) -> LoadedPolicy:
    """A policy, on the CPU.

    Raises:
        UserError: not a policy's checkpoint.
    """
    from cjepa.policies.training import PolicyTraining  # brings Lightning, which takes seconds

    content = read_checkpoint(checkpoint)
    module = load_module(PolicyTraining, content, checkpoint).requires_grad_(False).eval()
    return LoadedPolicy(module.policy, module.tokenizer_fingerprint, module.lineage)
