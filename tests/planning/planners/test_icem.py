import pytest
import torch

from cjepa.planning.planners.icem import ICEM, coloured
from tests.planning.planners.problems import TARGET_BHA, B, problem, quadratic, seeded


@pytest.mark.parametrize(("length", "exponent"), [(24, 0.0), (24, 1.0), (25, 2.0), (25, 4.0)])
def test_the_noise_has_its_spectrum_and_variance_1(length, exponent):
    noise_BNTV = coloured(torch.randn(2, 20_000, length, 1, generator=seeded()), exponent)
    torch.testing.assert_close(noise_BNTV.var(dim=(0, 1)), torch.ones(length, 1), atol=0.05, rtol=0)
    power_F = torch.fft.rfft(noise_BNTV, dim=2).abs().square().mean(dim=(0, 1))[:, 0]
    octaves = torch.log2(power_F[1] / power_F[[2, 4, 8]])
    torch.testing.assert_close(octaves, exponent * torch.tensor([1.0, 2.0, 3.0]), atol=0.1, rtol=0)
    assert power_F[0] / power_F[1] == pytest.approx(1, abs=0.1)  # the mean over time is the lowest frequency


def test_white_noise_stays_as_it_is():
    white_BNTV = torch.randn(1, 3, 7, 2, generator=seeded())
    torch.testing.assert_close(coloured(white_BNTV, 0.0), white_BNTV)


def test_one_env_step_has_no_colour():
    white_BNTV = torch.randn(1, 3, 1, 2, generator=seeded())
    torch.testing.assert_close(coloured(white_BNTV, 3.0), white_BNTV)


def test_noise_is_coloured_over_env_steps_and_not_over_the_values_of_an_action():
    """Eight blocks of two env steps of two values: neighbours in time are alike, the two values are not."""
    seen = []

    def cost(actions_BNHA):
        seen.append(actions_BNHA.clone())
        return actions_BNHA.sum(dim=(2, 3))

    bounds = (-torch.ones(4) * 50, torch.ones(4) * 50)
    one = type(problem())(cost, *bounds, 1, 8, seeded(), frame_stride=2)
    ICEM(20_000, 1, 2, initial_std=0.02, noise_exponent=3.0).plan(one)
    actions_NTV = one.env_steps(seen[1])[0, 1:]
    alike = torch.corrcoef(actions_NTV.permute(1, 2, 0).flatten(0, 1))  # rows: (t0, v0), (t0, v1), (t1, v0), ...
    assert alike[0, 2] > 0.5 and alike[2, 4] > 0.5 and alike[0, 1].abs() < 0.05 and alike[1, 2].abs() < 0.05


def test_the_population_shrinks():
    # 100 / 1.25^i: 100, 80, 64, 51.2, 40.96, 32.8, then never below twice the elites
    assert ICEM(100, 7, 15, decay=1.25).population_sizes == [100, 80, 64, 51, 40, 32, 30]
    assert ICEM(20, 3, 15, decay=1.25).population_sizes == [20, 20, 20]


def test_so_many_candidates_are_evaluated():
    """The start; then only new ones, since what is kept has its cost."""
    sizes = []

    def cost(actions_BNHA):
        sizes.append(actions_BNHA.shape[1])
        return quadratic(actions_BNHA)

    ICEM(40, 3, 8, decay=2.0).plan(problem(cost))
    assert sizes == [1, 40, 20, 16]


def test_elites_are_kept_and_given_to_the_next_plan():
    first = ICEM(64, 3, 20, keep=0.3).plan(problem())
    assert first.elites_BKHA.shape == (B, 5, *TARGET_BHA.shape[1:])  # 6 of 20, less the plan
    costs_BK = torch.cat([first.cost_B[:, None], quadratic(first.elites_BKHA)], dim=1)
    assert (costs_BK.diff(dim=1) >= 0).all() and (costs_BK[:, -1] < quadratic(problem().starts())[:, 0]).all()
    # an elite that is the answer is found by a search that is too coarse to find it
    starts_BKHA = torch.cat([first.actions_BHA[:, None], TARGET_BHA[:, None]], dim=1)
    assert (ICEM(4, 1, 2).plan(problem(), starts_BKHA).cost_B == 0).all()


def test_the_mean_is_a_candidate_of_the_last_iteration_only():
    seen = []

    def cost(actions_BNHA):
        seen.append(actions_BNHA.clone())
        return quadratic(actions_BNHA)

    planner = ICEM(64, 3, 8, keep=0.0, momentum=0.0, decay=1.0)
    planner.plan(problem(cost))
    _, first, second, third = seen
    everything = torch.cat([problem().starts(), first], dim=1)
    best = quadratic(everything).topk(8, largest=False).indices
    mean_BHA = torch.stack([row[index].mean(dim=0) for row, index in zip(everything, best, strict=True)])
    assert not torch.isclose(second, mean_BHA[:, None], atol=1e-5).all(dim=(2, 3)).any()
    kept = everything[torch.arange(B), best[:, 0]][:, None]
    everything = torch.cat([kept, second], dim=1)
    best = quadratic(everything).topk(8, largest=False).indices
    mean_BHA = torch.stack([row[index].mean(dim=0) for row, index in zip(everything, best, strict=True)])
    torch.testing.assert_close(third[:, 0], mean_BHA)


@pytest.mark.parametrize(
    ("option", "value"), [("noise_exponent", -1.0), ("decay", 0.5), ("keep", 1.5), ("momentum", 1.0)]
)
def test_arguments_are_checked(option, value):
    with pytest.raises(ValueError, match=f"{option} is {value}"):
        ICEM(**{option: value})
