"""What the simulator knows, read from tokens: a frozen linear probe of recorded states.

File letters: W values of all tokens of a frame (S x D), R answers of a probe, N frames.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cjepa.arguments import check
from cjepa.data.clip_windows import evenly_spread
from cjepa.data.splits import Lineage, training_episodes
from cjepa.data.store.episodes import Episodes
from cjepa.data.store.shards import frame_reader
from cjepa.errors import UserError
from cjepa.world_models.predictors.base import check_sizes

_FRAMES, _RIDGE = 6000, 1.0


class StateProbe(nn.Module):
    """A linear map from all tokens of a frame to places, and cosines and sines of angles; its weights are buffers.

    On slots of Push-T, mean errors are 0.5 px (agent), 6 px (block) and 5 degrees.

    Args:
        num_tokens: S.
        token_dim: D.
        places: indices of the state's values that are places.
        angles: indices of the state's values that are angles, in radians.

    Raises:
        ValueError: a size is below 1, there are neither places nor angles, or an index is below 0.
    """

    def __init__(self, num_tokens: int, token_dim: int, places: Sequence[int], angles: Sequence[int]):
        super().__init__()
        check_sizes({"num_tokens": num_tokens, "token_dim": token_dim}, {})
        check_indices(places, angles)
        self.num_tokens, self.token_dim = num_tokens, token_dim
        self.places, self.angles = list(places), list(angles)
        answers = len(self.places) + 2 * len(self.angles)
        self.register_buffer("weight_WR", torch.zeros(num_tokens * token_dim, answers))
        self.register_buffer("bias_R", torch.zeros(answers))
        self.register_buffer("fitted", torch.tensor(False))

    def forward(self, tokens_LSD: Tensor) -> Tensor:
        """Answers ``(..., R)``, float32: places, then cosines, then sines; tokens in the tokenizer's units.

        Raises:
            UserError: another number of tokens than the probe was fitted on.
        """
        if (found := tokens_LSD.shape[-2]) != self.num_tokens:
            raise UserError(f"the world model has {found} tokens, but its probe was fitted on {self.num_tokens}")
        with torch.autocast(tokens_LSD.device.type, enabled=False):  # bfloat16 is too coarse for pixels
            return tokens_LSD.float().flatten(-2) @ self.weight_WR + self.bias_R

    def differences(self, found_LR: Tensor, wanted_LR: Tensor) -> tuple[Tensor, Tensor]:
        """Joint distance of the places, in units of the state, and the sum of turns in degrees, ``(...)`` each."""
        places, angles = len(self.places), len(self.angles)
        distance_L = (found_LR - wanted_LR)[..., :places].norm(dim=-1)
        of_found, of_wanted = (
            torch.atan2(answers[..., places + angles :], answers[..., places : places + angles])
            for answers in (found_LR, wanted_LR)
        )
        turn_LR = torch.remainder(of_found - of_wanted + math.pi, 2 * math.pi) - math.pi
        return distance_L, torch.rad2deg(turn_LR.abs()).sum(dim=-1)

    def fit_on(self, file: Episodes, lineage: Lineage) -> None:
        """:meth:`fit` on frames of the training episodes of a token file, evenly spread.

        Raises:
            UserError: the file has no tokens or no states, or its states are too short.
        """
        file.require("tokens"), file.require("state")
        width = file.columns["state"][0][1]
        if (largest := max([*self.places, *self.angles])) >= width:
            raise UserError(
                f"index {largest} of places or angles, but states of {file.path} have {width} values; give indices in "
                f"0..{width - 1}"
            )
        train = training_episodes(file, lineage)
        rows = np.concatenate([file.offsets[e] + np.arange(file.lengths[e]) for e in train])
        rows = evenly_spread(rows, _FRAMES)
        self.fit(*(torch.from_numpy(frame_reader(file, name).read(rows)) for name in ("tokens", "state")))

    def fit(self, tokens_NSD: Tensor, state_NF: Tensor) -> None:
        """Ridge regression in closed form, of tokens that are scaled to standard deviation 1."""
        tokens_NW, state_NF = tokens_NSD.double().flatten(1), state_NF.double()
        angles_NV = state_NF[:, self.angles]
        answers_NR = torch.cat([state_NF[:, self.places], angles_NV.cos(), angles_NV.sin()], dim=1)
        mean_W, centre_R, std_W = tokens_NW.mean(dim=0), answers_NR.mean(dim=0), tokens_NW.std(dim=0)
        std_W[std_W < 1e-6] = 1.0  # a value that never changed
        scaled_NW = (tokens_NW - mean_W) / std_W
        gram_WW = scaled_NW.T @ scaled_NW + _RIDGE * torch.eye(len(mean_W), dtype=torch.float64)
        weight_WR = torch.linalg.solve(gram_WW, scaled_NW.T @ (answers_NR - centre_R)) / std_W[:, None]
        self.weight_WR.copy_(weight_WR), self.bias_R.copy_(centre_R - mean_W @ weight_WR)
        self.fitted.fill_(True)


def check_indices(places: Sequence[int], angles: Sequence[int]) -> None:
    """Whether these can be indices of a state's values.

    Raises:
        ValueError: there are none, or one is below 0.
    """
    if not [*places, *angles]:
        raise ValueError("places and angles are both empty, expected one index or more")
    lowest = min([*places, *angles])
    check(lowest >= 0, "an index of places or angles", lowest, "0 or more")
