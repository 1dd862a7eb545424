import pytest
import torch

from cjepa.planning.constraints import Box
from cjepa.planning.problem import PlanningProblem

ONE = torch.ones(2)


def problem(low_A=-ONE, high_A=ONE, constraints=()) -> PlanningProblem:
    return PlanningProblem(lambda actions: actions.sum(dim=(2, 3)), low_A, high_A, 3, 4, torch.Generator(), constraints)


@pytest.mark.parametrize(
    ("low_A", "high_A", "fault"),
    [
        (ONE, torch.ones(3), r"shapes \(2,\) and \(3,\)"),
        (ONE, -ONE, r"\[1.0, 1.0\] to \[-1.0, -1.0\]"),
        (-ONE, ONE / 0, "finite"),
        (ONE * torch.nan, ONE, "finite"),
    ],
)
def test_bounds_are_checked(low_A, high_A, fault):
    with pytest.raises(ValueError, match=fault):
        problem(low_A, high_A)


def test_the_search_starts_in_the_middle_or_at_what_is_given():
    one = problem(torch.tensor([0.0, -1.0]), torch.tensor([4.0, 1.0]))
    assert torch.equal(one.start(), torch.tensor([2.0, 0.0]).expand(3, 4, 2))
    assert torch.equal(one.start(torch.full((3, 4, 2), 2.0)), torch.tensor([2.0, 1.0]).expand(3, 4, 2))


def test_constraints_come_first_and_bounds_last():
    narrow = Box([-2.0, 0.5], [2.0, 5.0])
    actions = torch.tensor([[-9.0, -9.0], [0.0, 0.7], [9.0, 9.0]])[None, None]
    expected = torch.tensor([[-1.0, 0.5], [0.0, 0.7], [1.0, 1.0]])[None, None]
    before = actions.clone()
    assert torch.equal(problem(constraints=(narrow,)).project(actions), expected)
    assert torch.equal(actions, before)


def test_noise_is_drawn_from_the_generator():
    one = problem()
    one.generator.manual_seed(7)
    noise_BNHA = one.noise(5)
    assert noise_BNHA.shape == (3, 5, 4, 2)
    assert torch.equal(noise_BNHA, torch.randn(3, 5, 4, 2, generator=torch.Generator().manual_seed(7)))
