"""The fixed symbolic reader: events from tokens by frozen probes, futures from a world model, then the programs."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from cjepa.errors import UserError
from cjepa.evaluation.interventions.laboratory import Laboratory
from cjepa.evaluation.interventions.removal import why_no_removal
from cjepa.evaluation.interventions.scenes import EncodedEpisode, cut_scenes
from cjepa.interventions.edits import LatentIntervention, Remove, Replace
from cjepa.interventions.quantities import empty_token
from cjepa.questions.executor import Unanswerable, answer, is_correct
from cjepa.questions.files import Question
from cjepa.questions.perception import Perception
from cjepa.questions.scores import Given
from cjepa.questions.simulated import events_of, on_table
from cjepa.questions.stories import Event, Story
from cjepa.questions.tracks import (
    Approaches,
    Thresholds,
    Track,
    approaches,
    events_of_track,
    fit_thresholds,
    joined,
    spans,
)
from cjepa.tokenizers.encode import device_of
from cjepa.world_models.dynamics import split_clip, take_rows

_MARGIN = 2
"""Frames that are imagined after the last that counts: whether an approach is a collision shows afterwards."""


class Clocks(NamedTuple):
    """When the shown part of a scene ends, and when bodies are removed, in frames of one ``stride``."""

    stride: int
    removal_env_step: int
    seen_env_steps: int

    @property
    def shown_steps(self) -> np.ndarray:
        """Env steps of the shown frames, one of which is that of the removal."""
        return np.arange(self.removal_env_step % self.stride, self.seen_env_steps, self.stride)


Imagine = Callable[[EncodedEpisode, Track, np.ndarray, Sequence[int | None]], list[Track]]
"""Futures of an episode: the track so far, env steps of the frames to imagine, what to remove -> one track each."""


class SymbolicReader:
    """Answers questions by running their programs on what it understands of a scene.

    Args:
        episodes: by index; the tokens of shown frames are read.
        perception: fitted probes.
        clocks: of the questions.
        imagine: what it knows of futures.
        future: what makes a collision there; None: the same as in what is shown.
    """

    def __init__(
        self,
        episodes: dict[int, EncodedEpisode],
        perception: Perception,
        clocks: Clocks,
        imagine: Imagine,
        future: Thresholds | None = None,
    ):
        self.episodes, self.perception, self.clocks, self.imagine = episodes, perception, clocks, imagine
        self.future = perception.thresholds if future is None else future
        self._stories: dict[int, Story] = {}

    def __call__(self, question: Question) -> Given:
        """See :data:`~cjepa.questions.scores.Reader`; an option that cannot be checked is not taken."""
        story = self.story(question.episode)
        if question.answer is None:
            return tuple(_holds(choice.program, question.program, story) for choice in question.choices)
        try:
            return answer(question.program, story)
        except Unanswerable:
            return None

    def story(self, index: int) -> Story:
        """What happens in an episode; its objects are slots."""
        if index not in self._stories:
            self._stories[index] = self._understood(self.episodes[index])
        return self._stories[index]

    def with_fitted_future(self, episodes: Sequence[EncodedEpisode]) -> "SymbolicReader":
        """The same reader with thresholds for what it imagines, where bodies turn less sharply than in what it sees.

        Args:
            episodes: none of which is asked about.
        """
        near, collided = zip(*(self._imagined_approaches(episode) for episode in episodes), strict=True)
        future = fit_thresholds(joined(near), np.concatenate(collided))
        return SymbolicReader(self.episodes, self.perception, self.clocks, self.imagine, future)

    def _imagined_approaches(self, episode: EncodedEpisode) -> tuple[Approaches, np.ndarray]:
        """Approaches after what is shown, and which of them are of bodies that collide then, whenever they do."""
        shown_K = self.clocks.shown_steps
        past = self.perception.track(episode.tokens_TSD[shown_K], shown_K)
        (future,) = self.imagine(episode, past, self._later_steps(episode), [None])
        whole, last = _continued(past, future, None), int(shown_K[-1])
        found = approaches(whole)
        found = Approaches(*(values[whole.env_step_K[found.frame_N] > last] for values in found))
        happened = events_of(on_table(episode.rows["objects"]), episode.rows["contacts"].astype(bool))
        pairs = {
            tuple(sorted(episode.slot_TO[event.env_step, list(event.bodies)].tolist()))
            for event in happened
            if event.kind == "collision" and event.env_step > last
        }
        return found, np.array([tuple(pair) in pairs for pair in found.slot_N2.tolist()], bool)

    def _later_steps(self, episode: EncodedEpisode) -> np.ndarray:
        """Env steps of the frames after what is shown."""
        # a model sees whole blocks, so the actions of the last one have to be in the episode
        stride = self.clocks.stride
        return np.arange(self.clocks.shown_steps[-1] + stride, episode.env_steps - stride + 1, stride)

    def _understood(self, episode: EncodedEpisode) -> Story:
        clocks, shown_K = self.clocks, self.clocks.shown_steps
        tokens_KSD = episode.tokens_TSD[shown_K]
        track = self.perception.track(tokens_KSD, shown_K)
        words = {slot: self.perception.words(tokens_KSD[track.on_KS[:, slot], slot]) for slot in spans(track)}
        removal, last = int(np.searchsorted(shown_K, clocks.removal_env_step)), int(shown_K[-1])
        there = [slot for slot in np.flatnonzero(track.on_KS[removal]).tolist() if slot in words]
        later_K = self._later_steps(episode)
        (events,) = self._events(episode, track, later_K, [None])
        until_K = np.r_[shown_K[removal + 1 :], later_K[:_MARGIN]]
        without = [
            [event for event in found if clocks.removal_env_step < event.env_step <= last]
            for found in self._events(episode, track.cut(slice(removal + 1)), until_K, there)
        ]
        seen = [event for event in events if event.env_step <= last]
        unseen = [event for event in events if event.env_step > last]
        return Story(words, seen, unseen, dict(zip(there, without, strict=True)))

    def _events(
        self, episode: EncodedEpisode, past: Track, env_step_K: np.ndarray, removed: Sequence[int | None]
    ) -> list[list[Event]]:
        """Events of a track with what is imagined after it, for each removal."""
        futures = self.imagine(episode, past, env_step_K, removed)
        wholes = [_continued(past, future, gone) for future, gone in zip(futures, removed, strict=True)]
        last = past.env_step_K[-1]
        seen, later = (
            [events_of_track(whole, thresholds) for whole in wholes]
            for thresholds in (self.perception.thresholds, self.future)
        )
        return [
            [*(event for event in one if event.env_step <= last), *(event for event in two if event.env_step > last)]
            for one, two in zip(seen, later, strict=True)
        ]


def constant_velocity(side_units: float) -> Imagine:
    """Without a world model: every object goes on as in its last two frames.

    Args:
        side_units: of the table.
    """

    def imagine(
        episode: EncodedEpisode, past: Track, env_step_K: np.ndarray, removed: Sequence[int | None]
    ) -> list[Track]:
        step_S2 = past.place_KS2[-1] - past.place_KS2[max(len(past.place_KS2) - 2, 0)]
        place_KS2 = past.place_KS2[-1] + np.arange(1, len(env_step_K) + 1)[:, None, None] * step_S2
        inside_KS = ((place_KS2 > 0) & (place_KS2 < side_units)).all(axis=-1)
        return [Track(place_KS2, inside_KS, env_step_K)] * len(removed)

    return imagine


def by_world_model(lab: Laboratory, perception: Perception) -> Imagine:
    """Rollouts, with what is removed taken out of the history; objects of a fixed number become empty slots.

    Args:
        lab: the model.
        perception: what reads the predicted tokens.

    Raises:
        UserError: the model can do without an object neither way.
    """
    reason = why_no_removal(lab)
    if reason is not None and empty_token(lab.tokenizer) is None:
        raise UserError(reason)

    def without(slot_B: torch.Tensor) -> LatentIntervention:
        return Remove(slot_B) if reason is None else Replace(slot_B, empty_token(lab.tokenizer))

    @torch.no_grad()
    def imagine(
        episode: EncodedEpisode, past: Track, env_step_K: np.ndarray, removed: Sequence[int | None]
    ) -> list[Track]:
        if not len(env_step_K) or not removed:
            return [past.cut(slice(0))] * len(removed)
        start = np.array([int(past.env_step_K[-1]) - (lab.history - 1) * lab.frame_stride])
        if start[0] < 0:
            raise UserError(
                f"the model sees {lab.history} blocks of {lab.frame_stride} env steps, but bodies are removed at env "
                f"step {past.env_step_K[-1]}; make questions with --removal_env_step "
                f"{(lab.history - 1) * lab.frame_stride} or more"
            )
        cut = cut_scenes(episode, start, lab.history, len(env_step_K), lab.frame_stride).clip
        device = device_of(lab.dynamics)
        repeated = take_rows(cut.on(device), torch.zeros(len(removed), dtype=torch.long))
        history, actions_BHA, _ = split_clip(lab.dynamics, repeated)
        if removed == [None]:
            rollout = lab.dynamics.rollout(lab.dynamics.observe(history), actions_BHA)
        else:
            rollout = without(torch.tensor(removed, device=device)).rollout(lab.dynamics, history, actions_BHA)
        tokens_BHSD = lab.dynamics.denormalise(rollout).tokens_BHSD.float().cpu()
        return [perception.track(tokens_HSD, env_step_K) for tokens_HSD in tokens_BHSD]

    return imagine


def _continued(past: Track, future: Track, removed: int | None) -> Track:
    """A track and what is imagined after it: of the objects that are there at its end, without one of them."""
    future = future._replace(on_KS=future.on_KS & past.on_KS[-1])
    whole = Track(*(np.concatenate(values) for values in zip(past, future, strict=True)))
    if removed is not None:
        whole.on_KS[:, removed] = False
    return whole


def _holds(choice: Sequence[str], program: Sequence[str], story: Story) -> bool:
    try:
        return is_correct(choice, program, story)
    except Unanswerable:
        return False
