"""What world models share that are trained on frames and bring a tokenizer of their own."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cjepa.data.clip_module import EpisodeClips
from cjepa.data.clip_windows import evenly_spread
from cjepa.data.token_clips import refuse_tokens
from cjepa.tokenizers.base import Tokenizer, float_frames
from cjepa.tokenizers.features import check_features
from cjepa.types import Clip, VideoBatch
from cjepa.world_models.dynamics_training import DynamicsTraining

_SCALE_CLIPS = 512
"""Training clips whose actions decide the scale of actions."""


class EndToEnd(DynamicsTraining):
    """A world model on frames with its own tokenizer; from its checkpoint `cjepa plan` and `cjepa test` take both.

    Subclasses set ``tokenizer``, and ``dynamics`` with an ``action_scale``, and implement :meth:`check_data`.
    """

    def clip_of(self, batch: VideoBatch) -> Clip:
        """See :class:`DynamicsTraining`."""
        tokens_BTSD = encoded(self.tokenizer, batch)
        nothing = tokens_BTSD[:, :, 0, :0]
        proprio, actions = (nothing if part is None else part for part in (batch.proprio_BTP, batch.actions_BTA))
        return Clip(tokens_BTSD, proprio, actions)

    @abstractmethod
    def check_data(self, actions_NTA: Tensor, data: EpisodeClips) -> None:
        """Whether the model can be trained on these data.

        Args:
            actions_NTA: of some training clips; A is 0 without an agent.
            data: set up.

        Raises:
            UserError: it cannot.
        """

    def on_fit_start(self) -> None:
        """Fit the scale of actions, once, and remember the environment.

        Raises:
            UserError: the data are tokens, or do not fit the model.
        """
        refuse_tokens(self, self.trainer.datamodule)
        super().on_fit_start()
        data = self.trainer.datamodule
        check_features(self.tokenizer, data.file, data.splits)
        dataset = data.training_clips()
        actions = dataset.actions(evenly_spread(np.arange(len(dataset)), _SCALE_CLIPS))
        actions = torch.zeros(0, 0) if actions is None else actions
        self.check_data(actions, data)
        if self.dynamics.action_dim and not bool(self.dynamics.action_scale.fitted):
            self.dynamics.action_scale.fit(actions)
        self._know(data.file.attributes.get("env_id"))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["env_id"] = self.tokenizer.info.env_id

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._know(checkpoint.get("env_id"))

    def _know(self, env_id: str | None) -> None:
        self.tokenizer.info = self.tokenizer.info._replace(env_id=env_id)


def encoded(tokenizer: Tokenizer, batch: VideoBatch) -> Tensor:
    """Tokens of all frames of a batch, ``(B, T, S, D)``, with their gradient."""
    return tokenizer.encode(float_frames(tokenizer, batch.pixels_BTYXC)).slots_BTSD
