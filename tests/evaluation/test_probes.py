"""Probes find what tokens hold and nothing else, of the right object, and on held-out episodes."""

import numpy as np
import pytest
import torch

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.evaluation import probes
from cjepa.evaluation.probes import (
    Bodies,
    ObjectSamples,
    Question,
    Task,
    accuracy,
    fit_linear,
    fit_majority,
    fit_mlp,
    object_samples,
    questions,
    r_squared,
    read_bodies,
    run_probes,
    task_of,
)
from tests.conftest import ignore_progress

PUSHT = Bodies(["agent", "block"], ["x", "y", "angle", "vx", "vy", "angular_velocity"])
COLLIDE = Bodies(["body 0", "body 1"], ["present", "x", "y", "angle", "vx", "vy", "shape", "colour", "material"])


@pytest.fixture(autouse=True, scope="module")
def short():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "_STEPS", 400)
        yield


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def regression(answers_NR: torch.Tensor, inputs_ND: torch.Tensor, per_episode: int = 10) -> Task:
    return Task(inputs_ND.double(), answers_NR.double(), torch.arange(len(inputs_ND)) // per_episode)


def samples(truth_NF: torch.Tensor, tokens_ND: torch.Tensor, before_ND: torch.Tensor) -> ObjectSamples:
    number_N = torch.arange(len(truth_NF))
    return ObjectSamples(tokens_ND, before_ND, truth_NF, number_N % 2, number_N // 20)


def by_name(bodies: Bodies) -> dict[str, Question]:
    return {question.name: question for question in questions(bodies)}


# ---------------------------------------------------------------- which token is whose


def one_clip():
    """Two frames, three slots: body 1 changes from slot 0 to slot 2, body 0 from slot 2 out of view."""
    labels = torch.tensor([[[[1, 1], [2, 2]], [[0, 0], [2, 2]]]], dtype=torch.uint8)
    owner = torch.tensor([[[[2, 2], [0, 0]], [[1, 0], [2, 2]]]])
    masks = torch.nn.functional.one_hot(owner, 3).movedim(-1, 2).float()
    tokens = torch.arange(6.0).reshape(1, 2, 3, 1)  # slots 0, 1, 2, then 3, 4, 5
    objects = torch.tensor([[[[10.0], [20.0]], [[11.0], [21.0]]]])
    return tokens, masks, labels, objects


def test_objects_get_the_token_of_the_slot_that_covers_them():
    found = object_samples(*one_clip(), episode_B=torch.tensor([7]))
    assert found.truth_NF[:, 0].tolist() == [10.0, 20.0, 21.0]  # body 0 is out of view in the second frame
    assert found.tokens_ND[:, 0].tolist() == [2.0, 0.0, 5.0]
    assert found.body_N.tolist() == [0, 1, 1] and found.episode_N.tolist() == [7, 7, 7]


def test_the_token_before_is_of_the_slot_of_now():
    found = object_samples(*one_clip(), episode_B=torch.tensor([7]))
    assert found.before_ND[:2].isnan().all() and found.before_ND[2].tolist() == [2.0]


def test_labels_without_a_body_and_bodies_that_no_frame_shows():
    tokens, masks, labels, objects = one_clip()
    found = object_samples(tokens, masks, labels, objects[:, :, :1], torch.tensor([0]))  # label 2 is no body
    assert found.truth_NF[:, 0].tolist() == [10.0]
    three = torch.cat([objects, objects[:, :, :1]], dim=2)
    assert len(object_samples(tokens, masks, labels, three, torch.tensor([0])).body_N) == 3


# ---------------------------------------------------------------- what is asked


def test_questions_about_bodies_with_names():
    asked = by_name(PUSHT)
    assert set(asked) == {
        *("agent_x", "agent_y", "agent_velocity", "agent_velocity_one_frame"),  # a disc has no angle
        *("block_x", "block_y", "block_angle", "block_velocity", "block_velocity_one_frame"),
    }
    assert asked["block_angle"].alike_after == 1 and asked["block_x"].body == 1
    assert (asked["agent_velocity"].frames, asked["agent_velocity_one_frame"].frames) == (2, 1)


def test_questions_about_bodies_that_are_what_their_attributes_say():
    asked = by_name(COLLIDE)
    assert {"x", "y", "velocity", "square_angle", "triangle_angle", "colour", "shape", "material"} <= set(asked)
    assert "disc_angle" not in asked and all(question.body is None for question in asked.values())
    assert (asked["square_angle"].alike_after, asked["triangle_angle"].alike_after) == (4, 3)
    assert asked["colour"].is_class and not asked["x"].is_class


def test_a_task_holds_the_samples_that_are_asked_for():
    truth = torch.zeros(4, len(COLLIDE.attributes))
    truth[:, COLLIDE.attributes.index("shape")] = torch.tensor([0.0, 1.0, 1.0, 2.0])  # disc, square, square, triangle
    truth[:, COLLIDE.attributes.index("angle")] = torch.tensor([0.3, 0.5, 0.5 + np.pi / 2, 0.1])
    tokens = torch.arange(4.0)[:, None]
    before = torch.tensor([[torch.nan], [10.0], [11.0], [12.0]])
    given = samples(truth, tokens, before)
    square = task_of(by_name(COLLIDE)["square_angle"], given, COLLIDE.attributes)
    assert square.inputs_ND[:, 0].tolist() == [1.0, 2.0]
    for answer_R in square.answers_NR:  # a quarter turn later it looks the same
        assert answer_R.tolist() == pytest.approx([np.cos(2.0), np.sin(2.0)], abs=1e-6)
    moving = task_of(by_name(COLLIDE)["velocity"], given, COLLIDE.attributes)
    assert moving.inputs_ND.tolist() == [[1.0, 10.0], [2.0, 11.0], [3.0, 12.0]]
    assert task_of(by_name(PUSHT)["block_x"], given, PUSHT.attributes).inputs_ND[:, 0].tolist() == [1.0, 3.0]


# ---------------------------------------------------------------- probes and their scores


def test_the_linear_probe_is_ridge_regression():
    inputs = torch.randn(60, 3, generator=generator(), dtype=torch.float64)
    answers = torch.randn(60, 2, generator=generator(1), dtype=torch.float64)
    scaled = (inputs - inputs.mean(0)) / inputs.std(0)
    # the same as least squares on data with one row of weight 1 for every input, and answer 0
    stacked = torch.cat([scaled, torch.eye(3)]), torch.cat([answers - answers.mean(0), torch.zeros(3, 2)])
    expected = scaled @ torch.linalg.lstsq(*stacked).solution + answers.mean(0)
    torch.testing.assert_close(fit_linear(regression(answers, inputs), False)(inputs), expected)


def test_r_squared_by_hand_and_whatever_the_units():
    task = regression(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.zeros(4, 1), per_episode=1)
    predicted = torch.tensor([[1.0], [2.0], [3.0], [6.0]], dtype=torch.float64)
    assert r_squared(predicted, task)[::3] == (pytest.approx(1 - 4 / 5), 4)
    assert r_squared(task.answers_NR.mean(0).expand(4, 1), task).value == 0.0
    larger = task._replace(answers_NR=100 * task.answers_NR + 7)
    assert r_squared(100 * predicted + 7, larger).value == pytest.approx(1 - 4 / 5)


def test_accuracy_by_hand():
    task = Task(torch.zeros(4, 1), torch.tensor([0, 1, 1, 1]), torch.arange(4))
    assert accuracy(torch.eye(2)[[0, 1, 1, 0]], task)[::3] == (3 / 4, 4)
    majority = fit_majority(task, True)(torch.zeros(4, 1))
    assert accuracy(majority, task).value == 3 / 4


def test_intervals_are_over_episodes_and_not_over_frames():
    """Ten frames of an episode that say the same are one thing: the interval is as wide as from one frame each."""
    error = torch.rand(12, 1, generator=generator(), dtype=torch.float64)
    answers = torch.randn(12, 1, generator=generator(1), dtype=torch.float64)
    once = r_squared(answers + error, regression(answers, torch.zeros(12, 1), per_episode=1))
    often = answers.repeat_interleave(10, dim=0), error.repeat_interleave(10, dim=0)
    ten = r_squared(sum(often), regression(often[0], torch.zeros(120, 1), per_episode=10))
    assert once == pytest.approx(ten)
    assert once.low < once.value < once.high and once.n == 12


def test_what_is_curved_is_for_the_mlp():
    inputs = torch.rand(2000, 2, generator=generator()) * 2 - 1
    answers = torch.stack([inputs[:, 0] ** 2, inputs.prod(dim=1)], dim=1)
    train, test = (regression(answers[part], inputs[part]) for part in (slice(0, 1500), slice(1500, None)))
    linear, mlp = (r_squared(fit(train, False)(test.inputs_ND), test).value for fit in (fit_linear, fit_mlp))
    assert linear < 0.1 and mlp > 0.95


def test_classes_by_both_probes():
    classes = torch.randint(0, 3, (900,), generator=generator())
    inputs = torch.eye(3)[classes] + 0.1 * torch.randn(900, 3, generator=generator(1))
    train, test = (
        Task(inputs[part].double(), classes[part], torch.arange(900)[part] // 10)
        for part in (slice(0, 600), slice(600, None))
    )
    for fit in (fit_linear, fit_mlp):
        assert accuracy(fit(train, True)(test.inputs_ND), test).value > 0.98
    assert accuracy(fit_majority(train, True)(test.inputs_ND), test).value < 0.45


@pytest.mark.slow
def test_the_same_seed_gives_the_same_probe_and_leaves_torchs_alone():
    inputs = torch.randn(200, 2, generator=generator())
    task = regression(inputs[:, :1], inputs)
    state = torch.get_rng_state()
    first, second = (fit_mlp(task, False, seed=3)(task.inputs_ND) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, fit_mlp(task, False, seed=4)(task.inputs_ND))


# ---------------------------------------------------------------- all together


@pytest.fixture(scope="module")
def scores(short) -> dict:
    """Tokens that hold the place, colour and, over two frames, the velocity of a body; and noise."""

    def made(count: int, seed: int) -> ObjectSamples:
        truth = torch.randn(count, len(COLLIDE.attributes), generator=generator(seed))
        column = COLLIDE.attributes.index
        truth[:, column("colour")] = torch.randint(0, 4, (count,), generator=generator(seed + 1)).float()
        truth[:, column("shape")] = 0.0
        truth[:, column("material")] = torch.randint(0, 2, (count,), generator=generator(seed + 2)).float()
        place = truth[:, [column("x"), column("y")]]
        velocity = truth[:, [column("vx"), column("vy")]]
        colour = torch.eye(4)[truth[:, column("colour")].long()]
        noise = torch.randn(count, 3, generator=generator(seed + 3))
        return samples(
            truth, torch.cat([place, colour, noise], dim=1), torch.cat([place - velocity, colour, noise], dim=1)
        )

    return run_probes(made(1500, 0), made(500, 10), COLLIDE, ignore_progress)


def test_what_tokens_hold_is_found(scores):
    for name in ("linear_r2@x", "mlp_r2@y", "linear_r2@velocity", "mlp_r2@velocity", "linear_accuracy@colour"):
        assert scores[name].value > 0.9, name
        assert scores[name].low <= scores[name].value <= scores[name].high and scores[name].n == 25


def test_what_they_do_not_hold_is_not(scores):
    assert scores["linear_r2@velocity_one_frame"].value < 0.1
    assert scores["mlp_r2@velocity_one_frame"].value < 0.1  # the noise of training episodes does not help
    assert scores["linear_accuracy@material"].value < 0.6
    assert scores["majority_accuracy@colour"].value < 0.4 < scores["linear_accuracy@colour"].value


def test_questions_that_cannot_be_answered_are_left_out(scores):
    assert not any("angle" in name for name in scores)  # all are discs
    assert not any(name.endswith("@shape") for name in scores)  # which never differs
    few = samples(torch.randn(20, 6), torch.randn(20, 2), torch.randn(20, 2))
    assert run_probes(few, few, PUSHT, ignore_progress) == {}


def test_what_a_file_says_about_its_bodies(episodes, tmp_path):
    assert read_bodies(episodes) == PUSHT and not PUSHT.exchangeable and COLLIDE.exchangeable
    with EpisodeWriter(tmp_path / "old.h5", "cjepa-episodes", {}) as writer:
        writer.append({"pixels": np.zeros((1, 4, 4, 3), np.uint8)})
    assert read_bodies(EpisodeFile(tmp_path / "old.h5")) is None
