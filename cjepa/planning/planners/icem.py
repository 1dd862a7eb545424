"""The sample-efficient cross-entropy method."""

import torch
from torch import Tensor

from cjepa.arguments import at_least, share, share_below_one
from cjepa.planning.planners.base import Planner, check_search
from cjepa.planning.planners.candidates import cheapest
from cjepa.planning.problem import PlanningProblem
from cjepa.types import Plan


class ICEM(Planner):
    """iCEM (Pinneri et al., 2020, arXiv 2008.06389, algorithm 1): CEM that needs far fewer samples.

    Changes from :class:`cjepa.planning.planners.cem.CEM`: noise that is coloured over the env steps of a plan, so that
    candidates go somewhere instead of trembling; a population that shrinks; elites that stay candidates in the next
    iteration and, shifted in time, in the next plan; mean and standard deviation with momentum; the mean is a candidate
    of the last iteration.

    Args:
        num_samples: N, new candidates of the first iteration.
        iterations: how often to refit.
        num_elites: K candidates that the next iteration is fitted to.
        initial_std: of the first candidates, as a share of half the action range.
        min_std: lower limit of the standard deviation, as a share of half the action range.
        noise_exponent: beta of noise whose power falls with frequency f as f^-beta: 0 is white, 2 a random walk.
        decay: gamma; iteration i draws N gamma^-i candidates, but at least 2 K (section 3.2).
        keep: share of the elites that stay candidates, at least one of them.
        momentum: share of the last mean and standard deviation that stays, 0 to below 1.

    Raises:
        ValueError: ``num_elites`` is not in 2..``num_samples``, or another number is out of its range.
    """

    def __init__(
        self,
        num_samples: int = 300,
        iterations: int = 10,
        num_elites: int = 30,
        initial_std: float = 1.0,
        min_std: float = 0.05,
        noise_exponent: float = 2.0,
        decay: float = 1.25,
        keep: float = 0.3,
        momentum: float = 0.1,
    ):
        check_search(num_samples, iterations, num_elites, initial_std, min_std)
        at_least(0, noise_exponent=noise_exponent)
        at_least(1, decay=decay)
        share(keep=keep)
        share_below_one(momentum=momentum)
        self.num_samples = num_samples
        self.iterations = iterations
        self.num_elites = num_elites
        self.initial_std = initial_std
        self.min_std = min_std
        self.noise_exponent = noise_exponent
        self.decay = decay
        self.keep = keep
        self.momentum = momentum

    @property
    def population_sizes(self) -> list[int]:
        """New candidates of each iteration."""
        shrunk = (int(self.num_samples * self.decay**-iteration) for iteration in range(self.iterations))
        return [max(size, min(2 * self.num_elites, self.num_samples)) for size in shrunk]

    def plan(self, problem: PlanningProblem, warm_start_BKHA: Tensor | None = None) -> Plan:
        """See :class:`Planner`; the plan carries the elites that the next one begins with."""
        kept_BKHA = problem.starts(warm_start_BKHA)
        kept_BK = problem.cost(kept_BKHA)
        mean_BHA = kept_BKHA[:, 0]
        std_BHA = (self.initial_std * problem.half_range).expand_as(mean_BHA)
        num_kept = max(1, round(self.keep * self.num_elites))  # the best one too, so that it is never lost
        for iteration, size in enumerate(self.population_sizes, start=1):
            noise_BNHA = self._noise(problem, size)
            if iteration == self.iterations:
                noise_BNHA[:, 0] = 0.0  # the mean itself
            new_BNHA = problem.project(mean_BHA[:, None] + std_BHA[:, None] * noise_BNHA)
            cost_BN = torch.cat([kept_BK, problem.cost(new_BNHA)], dim=1)
            elites_BKHA, cost_BK = cheapest(torch.cat([kept_BKHA, new_BNHA], dim=1), cost_BN, self.num_elites)
            mean_BHA = torch.lerp(elites_BKHA.mean(dim=1), mean_BHA, self.momentum)
            std_BHA = torch.lerp(elites_BKHA.std(dim=1), std_BHA, self.momentum)
            std_BHA = torch.maximum(std_BHA, self.min_std * problem.half_range)
            kept_BKHA, kept_BK = elites_BKHA[:, :num_kept], cost_BK[:, :num_kept]
        return Plan(kept_BKHA[:, 0], kept_BK[:, 0], kept_BKHA[:, 1:])

    def _noise(self, problem: PlanningProblem, size: int) -> Tensor:
        white_BNHA = problem.noise(size)
        return coloured(problem.env_steps(white_BNHA), self.noise_exponent).reshape(white_BNHA.shape)


def coloured(white_BNTV: Tensor, exponent: float) -> Tensor:
    """White noise with its spectrum shaped along T: power ~ f^-exponent, standard deviation 1 at every env step.

    The mean over time counts as the lowest frequency, 1 / T (Timmer and Koenig, 1995).
    """
    length = white_BNTV.shape[2]
    frequency_F = torch.fft.rfftfreq(length, device=white_BNTV.device).clamp(min=1 / length)
    amplitude_F = frequency_F ** (-exponent / 2)
    # the filter is a circular convolution: its variance is the mean power over all frequencies, negative ones too
    both_F = torch.cat([amplitude_F, amplitude_F[1 : (length + 1) // 2]])
    amplitude_F = amplitude_F / both_F.square().mean().sqrt()
    spectrum_BNFV = torch.fft.rfft(white_BNTV, dim=2) * amplitude_F[:, None]
    return torch.fft.irfft(spectrum_BNFV, n=length, dim=2)
