"""What a frozen token says about its object: linear and MLP probes against the simulator's account.

Every object in view is paired with the slot that covers it best in that frame. Probes are fitted on tokens of training
episodes and scored on held-out ones: R² of place, angle and velocity, accuracy of colour, shape and material.

File letters: K labels (bodies and the background), N samples (an object in a frame), R values of an answer.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot, pad

from cjepa.data.store.attributes import from_json
from cjepa.data.store.episode_file import EpisodeFile
from cjepa.envs.collide.world import SHAPE_NAMES
from cjepa.evaluation.intervals import Interval, bootstrap
from cjepa.evaluation.segmentation import contingency, overlaps
from cjepa.progress import Progress

_CLASSES = ("colour", "shape", "material")
_ALIKE_AFTER = {"agent": 0, "disc": 0, "square": 4, "triangle": 3, "hexagon": 6, "bar": 2}
"""How many turns of a shape look alike; 0 for all of them, 1 (a full turn only) for what is not listed."""
_FEWEST_SAMPLES = 50
_RIDGE = 1.0
_HIDDEN, _BATCH, _LR, _WEIGHT_DECAY = 128, 256, 4e-3, 0.1
_STEPS, _CHECK_EVERY = 2000, 100

Probe = Callable[[Tensor], Tensor]
"""Inputs (N, D) -> answers (N, R); for classes a score of each."""


class Bodies(NamedTuple):
    """What an episode file says about its column ``objects``."""

    names: list[str]
    attributes: list[str]

    @property
    def exchangeable(self) -> bool:
        """Whether a body's number means nothing, and its attributes say what it is."""
        return "shape" in self.attributes


class ObjectSamples(NamedTuple):
    """Tokens of objects in view, one row an object and frame, and what the simulator says of them."""

    tokens_ND: Tensor
    before_ND: Tensor
    """The same slot one frame earlier; NaN at the first frame of a clip."""
    truth_NF: Tensor
    body_N: Tensor
    episode_N: Tensor


class Question(NamedTuple):
    """What a probe is to answer."""

    name: str
    attributes: tuple[str, ...]
    body: int | None = None
    """Whose; None for all bodies alike."""
    shape: int | None = None
    """Of bodies of this shape only."""
    alike_after: int = 0
    """For angles: the answer is the cosine and sine of this multiple of the angle."""
    frames: int = 1
    """Tokens that are given: that of the frame, or the one before too."""

    @property
    def is_class(self) -> bool:
        """Whether the answer is one of several instead of a number."""
        return self.attributes[0] in _CLASSES


class Task(NamedTuple):
    """A question with its data: inputs and answers, one row a sample."""

    inputs_ND: Tensor
    answers_NR: Tensor
    """Numbers, or class indices (N,)."""
    episode_N: Tensor


def read_bodies(file: EpisodeFile) -> Bodies | None:
    """Names of bodies and attributes; None where the episodes have no ``objects`` or do not say."""
    said = ("body_names", "attribute_names")
    if "objects" not in file.columns or not set(said) <= set(file.attributes):
        return None
    return Bodies(*(from_json(file.path, file.attributes, key) for key in said))


def turns_alike(body: str) -> int:
    """After how many equal parts of a full turn a body of this name looks alike; 0 if its angle cannot be seen."""
    return _ALIKE_AFTER.get(body, 1)


def object_samples(
    tokens_BTSD: Tensor, masks_BTSYX: Tensor, labels_BTYX: Tensor, objects_BTOF: Tensor, episode_B: Tensor
) -> ObjectSamples:
    """Pair every object in view with the slot of largest IoU on its frame.

    Args:
        tokens_BTSD: float.
        masks_BTSYX: the larger owns the pixel.
        labels_BTYX: k + 1 for body k, 0 = background.
        objects_BTOF: the simulator's account.
        episode_B: which episode a clip is from.
    """
    batch, blocks, bodies = objects_BTOF.shape[:3]
    counts_BTKS = contingency(masks_BTSYX, labels_BTYX)
    counts_BTKS = pad(counts_BTKS, (0, 0, 0, max(0, 1 + bodies - counts_BTKS.shape[2])))  # bodies that no frame shows
    iou_BTOS, seen_BTO = overlaps(counts_BTKS[:, :, : 1 + bodies])
    slot_BTO1 = iou_BTOS.argmax(dim=3, keepdim=True)
    before_BTSD = tokens_BTSD.roll(1, dims=1)
    before_BTSD[:, 0] = torch.nan
    values = (
        *(tokens.take_along_dim(slot_BTO1, dim=2) for tokens in (tokens_BTSD, before_BTSD)),
        objects_BTOF,
        torch.arange(bodies).expand(batch, blocks, bodies),
        episode_B[:, None, None].expand(batch, blocks, bodies),
    )
    return ObjectSamples(*(value[seen_BTO] for value in values))


def questions(bodies: Bodies) -> list[Question]:
    """What can be asked: of each body where it has a name of its own, else of all alike."""
    if not bodies.exchangeable:
        return [
            question
            for body, name in enumerate(bodies.names)
            for question in _questions(bodies.attributes, {name: None}, f"{name}_", body)
        ]
    shapes = {name: index for index, name in enumerate(SHAPE_NAMES)}
    return _questions(bodies.attributes, shapes, "", None)


def _questions(attributes: list[str], shapes: dict[str, int | None], prefix: str, body: int | None) -> list[Question]:
    asked = [Question(prefix + name, (name,), body) for name in ("x", "y")]
    for shape, index in shapes.items():
        if alike_after := turns_alike(shape):
            name = f"{prefix}angle" if index is None else f"{shape}_angle"
            asked.append(Question(name, ("angle",), body, index, alike_after))
    asked.append(Question(f"{prefix}velocity", ("vx", "vy"), body, frames=2))
    asked.append(Question(f"{prefix}velocity_one_frame", ("vx", "vy"), body))
    asked += [Question(prefix + name, (name,), body) for name in _CLASSES]
    return [question for question in asked if set(question.attributes) <= set(attributes)]


def task_of(question: Question, samples: ObjectSamples, attributes: list[str]) -> Task:
    """Inputs and answers of the samples that a question is about."""
    asked_N = torch.ones(len(samples.body_N), dtype=torch.bool)
    if question.body is not None:
        asked_N &= samples.body_N == question.body
    if question.shape is not None:
        asked_N &= samples.truth_NF[:, attributes.index("shape")] == question.shape
    inputs = [samples.tokens_ND]
    if question.frames == 2:
        asked_N &= samples.before_ND.isfinite().all(dim=1)
        inputs.append(samples.before_ND)
    answers_NR = samples.truth_NF[:, [attributes.index(name) for name in question.attributes]]
    if question.alike_after:
        turned = question.alike_after * answers_NR
        answers_NR = torch.cat([turned.cos(), turned.sin()], dim=1)
    answers = answers_NR[:, 0].long() if question.is_class else answers_NR.double()
    return Task(torch.cat(inputs, dim=1)[asked_N].double(), answers[asked_N], samples.episode_N[asked_N])


def fit_linear(task: Task, is_class: bool) -> Probe:
    """Ridge regression in closed form; on one-hot answers for classes."""
    answers_NR = one_hot(task.answers_NR).double() if is_class else task.answers_NR
    scale = _Scale(task.inputs_ND)
    inputs_ND, centre_R = scale(task.inputs_ND), answers_NR.mean(dim=0)
    gram_DD = inputs_ND.T @ inputs_ND + _RIDGE * torch.eye(inputs_ND.shape[1], dtype=torch.float64)
    weight_DR = torch.linalg.solve(gram_DD, inputs_ND.T @ (answers_NR - centre_R))
    return lambda others_ND: scale(others_ND) @ weight_DR + centre_R


def fit_mlp(task: Task, is_class: bool, seed: int = 0) -> Probe:
    """Two hidden layers; the same seed gives the same probe.

    Of the weights along the way those are kept that do best on every fifth training episode, on which nothing is
    trained: what a token does not hold is then not made up.
    """
    answers = task.answers_NR if is_class else _Scale(task.answers_NR)(task.answers_NR).float()
    scale, width = _Scale(task.inputs_ND), int(answers.max()) + 1 if is_class else answers.shape[1]
    inputs_ND = scale(task.inputs_ND).float()
    held_N = task.episode_N.unique(return_inverse=True)[1] % 5 == 4
    train, held = (~held_N).nonzero()[:, 0], (held_N if held_N.any() else ~held_N).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _mlp(inputs_ND.shape[1], width)
    loss_of = cross_entropy if is_class else mse_loss
    optimizer = torch.optim.AdamW(model.parameters(), _LR, weight_decay=_WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    least, best = torch.inf, model.state_dict()
    for step in range(1, _STEPS + 1):
        picks = train[torch.randint(len(train), (_BATCH,), generator=generator)]
        optimizer.zero_grad()
        loss_of(model(inputs_ND[picks]), answers[picks]).backward()
        optimizer.step()
        schedule.step()
        if step % _CHECK_EVERY == 0:
            with torch.no_grad():
                loss = float(loss_of(model(inputs_ND[held]), answers[held]))
            if loss < least:
                least, best = loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    model.requires_grad_(False)
    unscale = (lambda scores_NR: scores_NR) if is_class else _Scale(task.answers_NR).inverse
    return lambda others_ND: unscale(model(scale(others_ND).float()).double())


def fit_majority(task: Task, is_class: bool) -> Probe:
    """The most frequent class whatever the token is: what an accuracy has to beat."""
    frequency = torch.bincount(task.answers_NR).double()
    return lambda others_ND: frequency.expand(len(others_ND), -1)


def r_squared(predicted_NR: Tensor, task: Task) -> Interval:
    """Share of the variance that is explained, all values of an answer together; resampled by episode."""
    error_N = (predicted_NR - task.answers_NR).square().sum(dim=1)
    spread_N = (task.answers_NR - task.answers_NR.mean(dim=0)).square().sum(dim=1)
    left = bootstrap(_by_episode(error_N, task), _by_episode(spread_N, task))
    return Interval(1 - left.value, 1 - left.high, 1 - left.low, left.n)


def accuracy(scores_NR: Tensor, task: Task) -> Interval:
    """Share of right answers; resampled by episode."""
    right_N = (scores_NR.argmax(dim=1) == task.answers_NR).double()
    return bootstrap(_by_episode(right_N, task), _by_episode(torch.ones_like(right_N), task))


def run_probes(train: ObjectSamples, test: ObjectSamples, bodies: Bodies, progress: Progress) -> dict[str, Interval]:
    """Every probe's score: ``linear_r2@x``, ``mlp_accuracy@colour`` and so on; n counts test episodes.

    Questions about which there are too few samples, or of which the answer never differs, are left out.

    Args:
        train: of training episodes.
        test: of held-out episodes.
        bodies: of the same file.
        progress: advanced by a number of questions, of :func:`questions`.
    """
    scores = {}
    for question in questions(bodies):
        task, held_out = (task_of(question, samples, bodies.attributes) for samples in (train, test))
        if len(task.inputs_ND) >= _FEWEST_SAMPLES and _varies(task) and _varies(held_out):
            kind, score = ("accuracy", accuracy) if question.is_class else ("r2", r_squared)
            fits = {"linear": fit_linear, "mlp": fit_mlp} | ({"majority": fit_majority} if question.is_class else {})
            for name, fit in fits.items():
                predicted = fit(task, question.is_class)(held_out.inputs_ND)
                scores[f"{name}_{kind}@{question.name}"] = score(predicted, held_out)
        progress.advance(1)
    return scores


def _mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, outputs)
    )


class _Scale:
    """To mean 0 and standard deviation 1, and back."""

    def __init__(self, values_ND: Tensor):
        values_ND = values_ND.double()
        self.mean_D = values_ND.mean(dim=0)
        self.std_D = values_ND.std(dim=0)
        self.std_D[self.std_D < 1e-6] = 1.0  # a value that never changed in training

    def __call__(self, values_ND: Tensor) -> Tensor:
        return (values_ND - self.mean_D) / self.std_D

    def inverse(self, values_ND: Tensor) -> Tensor:
        return values_ND * self.std_D + self.mean_D


def _varies(task: Task) -> bool:
    return len(task.answers_NR) > 0 and bool((task.answers_NR != task.answers_NR[:1]).any())


def _by_episode(values_N: Tensor, task: Task) -> np.ndarray:
    _, episode_N = task.episode_N.unique(return_inverse=True)
    return torch.bincount(episode_N, weights=values_N).numpy()
