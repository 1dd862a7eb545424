"""Frames of tokens with all that can truly be said of them, for the training of language models.

File letters: K statements.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cjepa.data.store.attributes import from_json
from cjepa.data.token_clips import TokenClips
from cjepa.envs import make_env
from cjepa.envs.sentences import REGIONS, Statement
from cjepa.errors import UserError

MOST_FRAMES = 50_000
"""Of each split, spread evenly: what is true of a frame takes a moment to find out."""


class ToldFrames(NamedTuple):
    """Frames, and which statements are true of them."""

    tokens_BSD: Tensor
    """In the tokenizer's units."""
    true_BK: Tensor
    """bool"""

    def on(self, device: torch.device | str) -> "ToldFrames":
        """See :meth:`~cjepa.types.Clip.on`."""
        return ToldFrames(*(values.to(device) for values in self))


class FrameDataset(Dataset):
    """Single frames.

    Args:
        tokens_RSD: of all rows of a file.
        true_RK: of the same rows.
        starts: the rows to use.
    """

    def __init__(self, tokens_RSD: Tensor, true_RK: Tensor, starts: Tensor):
        self.tokens_RSD, self.true_RK, self.starts = tokens_RSD, true_RK, starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitems__(self, indices: list[int]) -> ToldFrames:
        """A whole batch at once."""
        rows_B = self.starts[torch.as_tensor(indices)]
        return ToldFrames(self.tokens_RSD[rows_B].float(), self.true_RK[rows_B])


class TokenFrames(TokenClips):
    """Single frames of which at least one statement is true; the options are those of :class:`TokenClips`."""

    statements: list[Statement]
    """K of them: every region, of every body that has a name in the file."""

    def setup(self, stage: str) -> None:
        """As :class:`TokenClips`; also finds the names of all bodies.

        Raises:
            UserError: the file has no states, does not name its environment, or sentences cannot speak of that.
        """
        super().setup(stage)
        self.file.require("state")
        attributes = self.file.attributes
        if "env_id" not in attributes:
            raise UserError(f"{self.path}: it does not name its environment, so nobody knows what its states show")
        env = make_env(attributes["env_id"], from_json(self.file.path, attributes, "env_kwargs"))
        self._used = {split: self._spread(episodes) for split, episodes in self.splits.items()}
        rows_N = np.sort(np.concatenate(list(self._used.values())))
        places = [env.named_places(state_F) for state_F in self._column("state").double().numpy()[rows_N]]
        names = sorted({name for known in places for name in known})
        if not names:
            raise UserError(f"{self.path}: sentences cannot speak of {attributes['env_id']}")
        self.statements = [Statement(name, region) for name in names for region in REGIONS]
        self._true_RK = torch.zeros(self.file.env_steps, len(self.statements), dtype=torch.bool)
        self._true_RK[rows_N] = torch.from_numpy(true_of(places, self.statements, env.table))

    def training_clips(self) -> FrameDataset:
        """See :meth:`EpisodeClips.training_clips`; clips of one frame."""
        return self.held_out_clips("train")

    def held_out_clips(self, split: str, blocks: int | None = None) -> FrameDataset:
        """See :meth:`EpisodeClips.held_out_clips`; clips of one frame."""
        rows_N = torch.from_numpy(self._used[split])
        return FrameDataset(self.rows.tokens_BTSD, self._true_RK, rows_N[self._true_RK[rows_N].any(dim=1)])

    def _spread(self, episodes: np.ndarray) -> np.ndarray:
        """Rows of episodes, no more than ``MOST_FRAMES``."""
        rows = [np.arange(self.file.lengths[episode]) + self.file.offsets[episode] for episode in episodes]
        rows_N = np.concatenate([np.zeros(0, np.int64), *rows])
        return rows_N[:: max(1, -(-len(rows_N) // MOST_FRAMES))]


def true_of(
    places: Sequence[Mapping[str, np.ndarray]], statements: Sequence[Statement], table: tuple[float, float]
) -> np.ndarray:
    """Which statements are true in N scenes, bool ``(N, K)``; none of a body that is not there.

    Args:
        places: of the bodies of each scene, see :meth:`~cjepa.envs.base.ObjectEnv.named_places`.
        statements: K of them.
        table: least and greatest x and y.
    """
    unknown_2 = np.full(2, np.nan)
    by_name = {s.body: np.stack([known.get(s.body, unknown_2) for known in places]) for s in statements}
    return np.stack([statement.error(by_name, table) < 1 for statement in statements], axis=1)
