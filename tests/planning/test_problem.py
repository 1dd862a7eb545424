import pytest
import torch

from cjepa.planning.constraints import Box, Constraint
from cjepa.planning.problem import PlanningProblem

ONE = torch.ones(2)


def problem(low_A=-ONE, high_A=ONE, constraints=(), frame_stride: int = 1) -> PlanningProblem:
    parts = (low_A, high_A, 3, 4, torch.Generator(), constraints, frame_stride)
    return PlanningProblem(lambda actions: actions.sum(dim=(2, 3)), *parts)


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
    assert torch.equal(one.start(torch.full((3, 1, 4, 2), 2.0)), torch.tensor([2.0, 1.0]).expand(3, 4, 2))
    several = torch.tensor([0.5, 9.0, -1.0]).reshape(1, 3, 1, 1).expand(3, -1, 4, 2)
    assert torch.equal(one.start(several), torch.full((3, 4, 2), 0.5))
    assert torch.equal(one.starts(several)[0, :, 0], torch.tensor([[0.5, 0.5], [4.0, 1.0], [0.0, -1.0]]))


def test_constraints_come_first_and_bounds_last():
    narrow = Box([-2.0, 0.5], [2.0, 5.0])
    actions = torch.tensor([[-9.0, -9.0], [0.0, 0.7], [9.0, 9.0]])[None, None]
    expected = torch.tensor([[-1.0, 0.5], [0.0, 0.7], [1.0, 1.0]])[None, None]
    before = actions.clone()
    assert torch.equal(problem(constraints=(narrow,)).project(actions), expected)
    assert torch.equal(actions, before)


def test_constraints_see_env_steps():
    seen = []

    class Look(Constraint):
        def project(self, actions_BNTV):
            seen.append(actions_BNTV)
            return actions_BNTV

    one = problem(-torch.ones(6), torch.ones(6), (Look(),), frame_stride=3)
    actions_BNHA = torch.arange(24.0).reshape(1, 1, 4, 6) / 24
    assert torch.equal(one.project(actions_BNHA), actions_BNHA)
    assert torch.equal(seen[0], torch.arange(24.0).reshape(1, 1, 12, 2) / 24)
    with pytest.raises(ValueError, match="6 action values per block of 4 env steps"):
        problem(-torch.ones(6), torch.ones(6), frame_stride=4)


def test_noise_is_drawn_from_the_generator():
    one = problem()
    one.generator.manual_seed(7)
    noise_BNHA = one.noise(5)
    assert noise_BNHA.shape == (3, 5, 4, 2)
    assert torch.equal(noise_BNHA, torch.randn(3, 5, 4, 2, generator=torch.Generator().manual_seed(7)))
