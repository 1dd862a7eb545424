"""VL-JEPA (arXiv 2512.10942) on object tokens: text embeddings from tokens, and tokens from a text embedding.

File letters: W width of embeddings, C sentences, L anything that leads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cjepa.arguments import at_least
from cjepa.envs.sentences import PREPOSITIONS, REGIONS, VERBS, WORDS, Statement, parse, phrases, said, words_of
from cjepa.errors import UserError
from cjepa.world_models.normalise import Normaliser

_LEAST_DEVIATION = 0.1


class LanguageModel(nn.Module):
    """A text encoder, a predictor of its embeddings from tokens, and a predictor of tokens from its embeddings.

    ```
    words    --text encoder-->        embedding of the sentence     <--nearest-->   embedding of each object
    token of each object  --predictor-->  embedding of each object
    embedding of the sentence  --goal head-->  mean and deviation of the token of the object that it is about
    ```
    A sentence is about one object: it fits a frame as well as it fits the object that it fits best. So neither the
    order nor the number of objects matters, and no query has to name the object.

    Args:
        token_dim: D.
        dim: W.
        hidden_dim: of all layers between.
        words: that it can read.

    Raises:
        ValueError: a size is below 1.
    """

    def __init__(self, token_dim: int, dim: int = 64, hidden_dim: int = 256, words: Sequence[str] = WORDS):
        at_least(1, token_dim=token_dim, dim=dim, hidden_dim=hidden_dim)
        super().__init__()
        self.token_dim = token_dim
        self.words = {word: index for index, word in enumerate(words)}
        self.token_scale = Normaliser(token_dim)
        self.word_embedding = nn.EmbeddingBag(len(words), hidden_dim, mode="mean")
        self.text_encoder = _layers(hidden_dim, hidden_dim, dim)
        self.predictor = _layers(token_dim, hidden_dim, dim)
        self.goal_head = _layers(dim, hidden_dim, 2 * token_dim)
        self.log_scale = nn.Parameter(torch.tensor(2.0))  # of cosines, as logits

    def read(self, sentences: Sequence[str]) -> Tensor:
        """Embeddings of sentences ``(C, W)``, of length 1.

        Raises:
            UserError: a sentence has no words, or one that the model has not learned.
        """
        rows = [[self._index(word, text) for word in words_of(text)] for text in sentences]
        if not all(rows):
            raise UserError("a sentence is empty")
        device = self.log_scale.device
        lengths = torch.tensor([0, *map(len, rows[:-1])], device=device).cumsum(0)
        indices = torch.tensor([index for row in rows for index in row], device=device)
        return nn.functional.normalize(self.text_encoder(self.word_embedding(indices, lengths)), dim=-1)

    def read_bodies(self, sentences: Sequence[str]) -> Tensor:
        """Embeddings ``(C, W)`` of the bodies that sentences name: means of what can be said of them, over all regions.

        Raises:
            UserError: as :meth:`read`, or a sentence is none of the grammar.
        """
        ways = [phrases(Statement(parse(text).body, region), False)[0] for text in sentences for region in REGIONS]
        texts = [said(VERBS[0], body, PREPOSITIONS[0], region) for body, region in ways]
        return self.read(texts).unflatten(0, (len(sentences), len(REGIONS))).mean(dim=1)

    def look(self, tokens_LSD: Tensor) -> Tensor:
        """What embeddings of sentences about each object should be, ``(..., S, W)``, of length 1.

        Args:
            tokens_LSD: in the tokenizer's units.
        """
        return nn.functional.normalize(self.predictor(self.token_scale(tokens_LSD)), dim=-1)

    def about(self, embedding_LSW: Tensor, text_LW: Tensor) -> Tensor:
        """Which object a text is about, ``(..., S)``, as shares of 1: the softmax of how well the text fits each.

        Args:
            embedding_LSW: of :meth:`look`.
            text_LW: of :meth:`read` or :meth:`read_bodies`, with leading dimensions that broadcast.
        """
        fit_LS = (embedding_LSW * text_LW[..., None, :]).sum(dim=-1).float()
        return (fit_LS * self.log_scale.exp()).softmax(dim=-1)

    def goal(self, text_LW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation ``(..., D)`` of the token that makes a sentence true, in scaled units."""
        mean_LD, deviation_LD = self.goal_head(text_LW).chunk(2, dim=-1)
        return mean_LD, nn.functional.softplus(deviation_LD) + _LEAST_DEVIATION

    def goal_errors(self, tokens_LSD: Tensor, text_LW: Tensor) -> tuple[Tensor, Tensor]:
        """Squared deviations of tokens from those that make sentences true, and what deviations are usual.

        Args:
            tokens_LSD: in the tokenizer's units.
            text_LW: of :meth:`read`, with leading dimensions that broadcast with those of the tokens.

        Returns:
            Of each object the squared error in units of the usual deviation, sum over D, ``(..., S)``; and the sum of
            the logarithms of the usual deviations ``(..., 1)``.
        """
        mean_LD, deviation_LD = self.goal(text_LW)
        error_LSD = (self.token_scale(tokens_LSD) - mean_LD[..., None, :]) / deviation_LD[..., None, :]
        return error_LSD.square().sum(dim=-1), deviation_LD.log().sum(dim=-1, keepdim=True)

    def _index(self, word: str, text: str) -> int:
        if word not in self.words:
            raise UserError(f'"{text}": the language model has not learned the word {word!r}; train it again')
        return self.words[word]


def _layers(inputs: int, hidden: int, outputs: int) -> nn.Module:
    between = nn.Linear(hidden, hidden)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), between, nn.GELU(), nn.Linear(hidden, outputs))


def fits(embedding_BSW: Tensor, text_CW: Tensor) -> Tensor:
    """How well each of C sentences fits each of B frames, ``(B, C)``: the cosine of the object that it fits best.

    Args:
        embedding_BSW: of :meth:`LanguageModel.look`.
        text_CW: of :meth:`LanguageModel.read`.
    """
    return (embedding_BSW @ text_CW.T).amax(dim=1)
