"""Tokenizers with nothing left to train, measured as trained ones are: patches, oracles, DINOv2, models of the zoo."""

from typing import Any

from torchmetrics import Metric

from cjepa.tokenizers.scoring import ScoredTokenizer
from cjepa.tokenizers.specs import build_tokenizer, tokenizer_spec


class FrozenTokenizer(ScoredTokenizer):
    """Any tokenizer that ``cjepa tokenize`` takes, for ``cjepa test``.

    Args:
        source: a run folder, a checkpoint or ``zoo:NAME``; ``oracle``, ``oracle:D`` or ``dino:SOURCE``; or the class
            path of a tokenizer, alone or with its ``init_args``, see :func:`~cjepa.tokenizers.specs.tokenizer_spec`.
        metrics: see :class:`~cjepa.tokenizers.scoring.ScoredTokenizer`.
        patch_grid: g for a g x g grid of its encoder's features instead of its tokens; 0 for the tokens.
    """

    def __init__(self, source: str | dict[str, Any], metrics: list[Metric], patch_grid: int = 0):
        super().__init__(metrics)
        self.source = source
        self.patch_grid = patch_grid

    def setup(self, stage: str) -> None:
        """Build the tokenizer; an oracle needs the attributes of the objects from the episodes.

        Raises:
            UserError: there is no such tokenizer, or it has no such grid, or the episodes have no ``objects``.
        """
        episodes = self.trainer.datamodule.file
        self.tokenizer = build_tokenizer(tokenizer_spec(self.source, episodes, self.patch_grid))
