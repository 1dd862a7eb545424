"""A trained world model back from its checkpoint, with the tokenizer that it was trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cjepa.checkpoints import home_of, load_module, read_checkpoint
from cjepa.data.store.origins import moved_tokenizer
from cjepa.errors import UserError
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import fingerprint
from cjepa.tokenizers.specs import TokenizerSpec, build_tokenizer
from cjepa.world_models.dynamics import Dynamics

if TYPE_CHECKING:
    from cjepa.world_models.dynamics_training import DynamicsTraining


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
    from cjepa.world_models.dynamics_training import DynamicsTraining  # brings Lightning, which takes seconds

    content = read_checkpoint(checkpoint)
    module = load_module(DynamicsTraining, content, checkpoint).requires_grad_(False).eval()
    tokenizer = tokenizer_of(module, str(checkpoint), home_of(checkpoint))
    return LoadedWorldModel(module.dynamics, tokenizer, fingerprint(tokenizer), module.lineage)


def tokenizer_of(module: "DynamicsTraining", where: str, run: Path) -> Tokenizer:
    """The model's own tokenizer, or the one whose tokens it was trained on if that makes the same ones today.

    Args:
        module: with what its checkpoint says of the tokenizer.
        where: the checkpoint is, for messages.
        run: the folder that the model is in, from which a tokenizer that was moved with it is found.

    Raises:
        UserError: the tokenizer is gone, has changed, is unknown, or needs hints.
    """
    if module.tokenizer is not None:
        return module.tokenizer
    described, trained_on = module.tokenizer_spec, module.tokenizer_fingerprint
    if not described:
        raise UserError(f"{where} does not name the tokenizer of its tokens; plan with a model of `cjepa fit`")
    if foreign := described.get("converted_from"):
        raise UserError(
            f"{where} was trained on converted tokens ({foreign}) without their tokenizer, so the simulator's "
            "frames cannot be encoded; plan with a model trained on tokens from `cjepa tokenize`"
        )
    spec = TokenizerSpec.from_plain(moved_tokenizer(described, module.run_folder, run, where))
    tokenizer = build_tokenizer(spec)
    if (found := fingerprint(tokenizer)) != trained_on:
        raise UserError(
            f"{where} was trained on tokens of tokenizer {trained_on}, but "
            f"{spec} is {found}; tokenize again and train again, or restore that file"
        )
    if tokenizer.info.hint_dim:
        raise UserError(
            f"{where}: its tokenizer {spec} needs hints from label images, which "
            "planning does not have; plan with a model whose tokenizer needs no hints"
        )
    return tokenizer
