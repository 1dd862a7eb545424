"""A trained language model back from its checkpoint."""

from pathlib import Path

from cjepa.checkpoints import load_frozen
from cjepa.language.model import LanguageModel


def load_language(checkpoint: Path, tokenizer_fingerprint: str) -> LanguageModel:
    """A language model of a tokenizer's tokens, on the CPU, frozen and in eval mode.

    Raises:
        UserError: not a language model's checkpoint, or it was trained on other tokens.
    """
    from cjepa.language.training import LanguageTraining  # brings Lightning, which takes seconds

    return load_frozen(LanguageTraining, checkpoint, tokenizer_fingerprint).language
