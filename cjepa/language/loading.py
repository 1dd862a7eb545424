"""A trained language model back from its checkpoint."""

from pathlib import Path

from cjepa.checkpoints import load_module, read_checkpoint
from cjepa.errors import UserError
from cjepa.language.model import LanguageModel


def load_language(checkpoint: Path, tokenizer_fingerprint: str) -> LanguageModel:
    """A language model of a tokenizer's tokens, on the CPU, frozen and in eval mode.

    Raises:
        UserError: not a language model's checkpoint, or it was trained on other tokens.
    """
    from cjepa.language.training import LanguageTraining  # brings Lightning, which takes seconds

    module = load_module(LanguageTraining, read_checkpoint(checkpoint), checkpoint).requires_grad_(False).eval()
    if module.tokenizer_fingerprint != tokenizer_fingerprint:
        raise UserError(
            f"{checkpoint}: it was trained on tokens of tokenizer {module.tokenizer_fingerprint}, but those of the "
            f"world model are of {tokenizer_fingerprint}; train it on the tokens of the world model"
        )
    return module.language
