"""Tokenizers with nothing left to train, measured as trained ones are: patches, oracles, DINOv2, models of the zoo."""

from torchmetrics import Metric

from cjepa.tokenizers.scoring import ScoredTokenizer
from cjepa.tokenizers.token_files import build_tokenizer, tokenizer_spec


class FrozenTokenizer(ScoredTokenizer):
    """Any tokenizer that ``cjepa tokenize`` takes, for ``cjepa test``.

    Args:
        source: a run folder, a checkpoint or ``zoo:NAME``; ``oracle``, ``oracle:D`` or ``dino:SOURCE``, see
            :class:`~cjepa.tokenizers.token_files.TokenizerSpec`.
        metrics: see :class:`~cjepa.tokenizers.scoring.ScoredTokenizer`.
        patch_grid: g for a g x g grid of its encoder's features instead of its tokens; 0 for the tokens.
    """

    def __init__(self, source: str, metrics: list[Metric], patch_grid: int = 0):
        super().__init__(metrics)
        self.source = source
        self.patch_grid = patch_grid

    def setup(self, stage: str) -> None:
        """Build the tokenizer: an oracle has to know what the episodes say of their objects.

        Raises:
            UserError: there is no such tokenizer, or it has no such grid, or the episodes have no ``objects``.
        """
        episodes = self.trainer.datamodule.file
        self.tokenizer = build_tokenizer(tokenizer_spec(self.source, episodes, self.patch_grid))
