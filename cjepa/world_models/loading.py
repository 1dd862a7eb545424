"""A trained world model back from its checkpoint, with the tokenizer that it was trained on."""

from pathlib import Path
from typing import Any, NamedTuple

from cjepa.checkpoints import load_module, read_checkpoint
from cjepa.errors import UserError
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.specs import TokenizerSpec, build_tokenizer
from cjepa.world_models.dynamics import Dynamics
from cjepa.world_models.training import DynamicsTraining


class LoadedWorldModel(NamedTuple):
    """What imagining takes; both parts are frozen and in eval mode."""

    dynamics: Dynamics
    tokenizer: Tokenizer
    tokenizer_fingerprint: str
    lineage: dict[str, Any]
    """What was held out from training; empty where the checkpoint does not say."""


def load_world_model(checkpoint: Path) -> LoadedWorldModel:
    """A world model and its tokenizer, on the CPU.

    Raises:
        UserError: not a world model's checkpoint, or its tokenizer has changed, is unknown, or needs hints.
    """
    content = read_checkpoint(checkpoint)
    if not {"tokenizer", "lineage"} & set(content):
        raise UserError(f"{checkpoint}: not a world model; give a run of `cjepa fit -c experiments/pusht/cjepa.yaml`")
    module = load_module(DynamicsTraining, content, checkpoint).requires_grad_(False).eval()
    tokenizer = module.tokenizer or _tokenizer_of(content, checkpoint)
    return LoadedWorldModel(module.dynamics, tokenizer, fingerprint(tokenizer), module.lineage)


def _tokenizer_of(content: dict, checkpoint: Path) -> Tokenizer:
    """The tokenizer whose tokens a model was trained on, if it makes the same ones today."""
    if foreign := content["tokenizer"].get("converted_from"):
        raise UserError(
            f"{checkpoint} was trained on converted tokens ({foreign}) without their tokenizer, so the simulator's "
            "frames cannot be encoded; plan with a model trained on tokens from `cjepa tokenize`"
        )
    spec = TokenizerSpec.from_plain(content["tokenizer"])
    tokenizer = build_tokenizer(spec)
    trained_on = content.get("tokenizer_fingerprint") or content["tokens_fingerprint"]
    if (found := fingerprint(tokenizer)) != trained_on:
        raise UserError(
            f"{checkpoint} was trained on tokens of tokenizer {trained_on}, but "
            f"{spec} is {found}; tokenize again and train again, or restore that file"
        )
    if tokenizer.info.hint_dim:
        raise UserError(
            f"{checkpoint}: its tokenizer {spec} needs hints from label images, which "
            "planning does not have; plan with a model whose tokenizer needs no hints"
        )
    return tokenizer
