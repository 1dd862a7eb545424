"""How well a cost ranks the candidate plans of each of P pairs; all arrays are ``(P, N)``, lower is better.

Costs that are not finite count as worse than every other.
"""

import numpy as np
from scipy.stats import rankdata


def spearman(judged_PN: np.ndarray, truth_PN: np.ndarray) -> np.ndarray:
    """Rank correlation of two costs over the candidates of each pair, ``(P,)``; ties share their mean rank.

    0 where ``judged`` has one value for all candidates, since it ranks nothing. NaN where ``truth`` has: that pair says
    nothing about the judge.
    """
    judged_PN, truth_PN = (_centred_ranks(values_PN) for values_PN in (judged_PN, truth_PN))
    spread_P = np.sqrt((judged_PN**2).sum(axis=1) * (truth_PN**2).sum(axis=1))
    together_P = (judged_PN * truth_PN).sum(axis=1) / np.where(spread_P > 0, spread_P, 1.0)
    return np.where((truth_PN != 0).any(axis=1), together_P, np.nan)


def rank_of(cost_PN: np.ndarray, candidate: int) -> np.ndarray:
    """Rank of one candidate by its cost, ``(P,)``: 1 is the cheapest, ties share their mean rank."""
    return rankdata(_finite(cost_PN), axis=1)[:, candidate]


def picked(cost_PN: np.ndarray, error_PN: np.ndarray) -> np.ndarray:
    """Error of the candidate that is the cheapest by its cost, ``(P,)``; the mean of theirs where several are."""
    cost_PN = _finite(cost_PN)
    cheapest_PN = cost_PN == cost_PN.min(axis=1, keepdims=True)
    return (error_PN * cheapest_PN).sum(axis=1) / cheapest_PN.sum(axis=1)


def variation(cost_PN: np.ndarray) -> np.ndarray:
    """Standard deviation over candidates as a share of their mean, ``(P,)``; NaN where the mean is 0."""
    mean_P = cost_PN.mean(axis=1)
    return np.where(mean_P != 0, cost_PN.std(axis=1) / np.where(mean_P != 0, mean_P, 1.0), np.nan)


def _finite(cost_PN: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(cost_PN), cost_PN, np.inf)


def _centred_ranks(cost_PN: np.ndarray) -> np.ndarray:
    return rankdata(_finite(cost_PN), axis=1) - (cost_PN.shape[1] + 1) / 2
