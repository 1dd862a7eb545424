import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, minimize

from cjepa.errors import UserError
from cjepa.planning.constraints import Box, L1Ball, MaxChange

ACTIONS = torch.tensor([[-3.0, 0.2], [9.0, -1.0], [0.0, 0.5], [0.1, 2.0]])[None, None]  # four env steps


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-1.0, 0.5, [[-1.0, 0.2], [0.5, -1.0], [0.0, 0.5], [0.1, 0.5]]),
        ([-1.0, 0.0], [1.0, 0.3], [[-1.0, 0.2], [1.0, 0.0], [0.0, 0.3], [0.1, 0.3]]),
        (-2.0, [1.0, 0.1], [[-2.0, 0.1], [1.0, -1.0], [0.0, 0.1], [0.1, 0.1]]),
    ],
)
def test_a_box_by_hand(low, high, expected):
    before = ACTIONS.clone()
    inside = Box(low, high).project(ACTIONS)
    assert torch.equal(inside, torch.tensor(expected)[None, None]) and torch.equal(ACTIONS, before)
    assert torch.equal(Box(low, high).project(inside), inside)


BAD = [(1, 0.5), ([0.0, 0.0], [1.0, -1.0]), (float("nan"), 1.0), (0, float("inf")), ([0.0] * 2, [1.0] * 3), ([], 1)]
BAD += [(["low"], 1), (0, [[1.0], [1.0, 2.0]])]


@pytest.mark.parametrize(("low", "high"), BAD)
def test_a_box_that_holds_nothing_is_refused(low, high):
    with pytest.raises(ValueError, match="expected finite low <= high"):
        Box(low, high)


def test_a_box_of_another_number_of_values_is_refused():
    with pytest.raises(UserError, match="Box: 3 bounds, but an action has 2 values"):
        Box([0.0, 0.0, 0.0], 1.0).project(ACTIONS)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ([0.3, -0.2], [0.3, -0.2]),  # within
        ([3.0, 0.0], [1.0, 0.0]),
        ([0.8, -0.6], [0.6, -0.4]),  # 0.2 off each
        ([2.0, 0.5], [1.0, 0.0]),  # 1 off, but no value changes its sign
    ],
)
def test_an_l1_ball_by_hand(action, expected):
    torch.testing.assert_close(
        L1Ball(1.0).project(torch.tensor(action).expand(1, 1, 1, 2))[0, 0, 0], torch.tensor(expected)
    )


def test_every_action_is_in_a_ball_of_its_own():
    inside = L1Ball(1.0).project(ACTIONS)
    torch.testing.assert_close(inside[0, 0], torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.5], [0.0, 1.0]]))


@pytest.mark.parametrize("values", [1, 2, 5])
def test_an_l1_ball_against_a_solver(values):
    wanted = np.random.default_rng(values).normal(size=(6, values))
    found = L1Ball(0.7).project(torch.tensor(wanted)[None, None])[0, 0].numpy()
    signs = np.array(np.meshgrid(*[[-1, 1]] * values)).reshape(values, -1).T  # the ball's faces
    for action, inside in zip(wanted, found, strict=True):
        np.testing.assert_allclose(inside, nearest(action, signs, 0.7), atol=1e-4)


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ([0.0, 0.1, 0.2], [0.0, 0.1, 0.2]),
        ([0.0, 1.0], [0.4, 0.6]),  # both give way; one after the other would be 0, 0.2
        ([0.0, 0.0, 0.9], [0.1, 0.3, 0.5]),  # x, x + 0.2, x + 0.4, where x is the mean of 0, -0.2 and 0.5
        ([1.0, -1.0, 1.0], [0.4, 0.2, 0.4]),  # x, x - 0.2, x, where x is the mean of 1, -0.8 and 1
    ],
)
def test_a_largest_change_by_hand(sequence, expected):
    wanted = torch.tensor(sequence).reshape(1, 1, -1, 1)
    before = wanted.clone()
    found = MaxChange(0.2).project(wanted)
    torch.testing.assert_close(found[0, 0, :, 0], torch.tensor(expected))
    assert torch.equal(wanted, before)


@pytest.mark.parametrize("length", [1, 2, 7, 25])
def test_a_largest_change_against_a_solver(length):
    wanted = np.random.default_rng(length).normal(size=(1, 3, length, 2))
    found = MaxChange(0.3).project(torch.tensor(wanted)).numpy()
    assert (np.abs(np.diff(found, axis=2)) <= 0.3 + 1e-12).all()
    differences = np.diff(np.eye(length), axis=0)
    for row in range(3):
        for value in range(2):
            solved = nearest(wanted[0, row, :, value], np.concatenate([differences, -differences]), 0.3)
            np.testing.assert_allclose(found[0, row, :, value], solved, atol=1e-4)


def nearest(point: np.ndarray, rows: np.ndarray, limit: float) -> np.ndarray:
    """The nearest x with ``rows @ x <= limit``, by a general solver."""
    constraints = [LinearConstraint(rows, -np.inf, limit)] if len(rows) else []
    options = {"jac": lambda x: x - point, "constraints": constraints, "method": "SLSQP", "tol": 1e-12}
    return minimize(lambda x: ((x - point) ** 2).sum() / 2, np.zeros_like(point), **options).x


@pytest.mark.parametrize("constraint", [L1Ball(0.5), MaxChange(0.1)])
def test_what_is_allowed_stays_and_gradients_pass(constraint):
    actions = torch.randn(2, 5, 10, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    inside = constraint.project(actions)
    torch.testing.assert_close(constraint.project(inside), inside)
    assert torch.autograd.grad(inside.sum(), actions)[0].isfinite().all()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(("cls", "option"), [(L1Ball, "radius"), (MaxChange, "step")])
def test_sizes_are_checked(cls, option, value):
    with pytest.raises(ValueError, match=f"^{option} is {value}, expected a finite number above 0$"):
        cls(value)
