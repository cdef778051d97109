"""Which lam the protocol's rule chooses, from validation episodes."""

from dataclasses import dataclass

import numpy as np

from sb3_grpo.study.report.data import BASELINE, Results


@dataclass(frozen=True)
class Candidate:
    """A value of lam on the validation episodes; means over trainings.

    :param lam: the value
    :param n: number of trainings
    :param gap: gap
    :param worst: worst group's rate
    :param efficiency: share of lam=0's efficiency
    :param allowed: whether that is as much as the protocol asks
    """

    lam: float
    n: int
    gap: float
    worst: float
    efficiency: float
    allowed: bool


def candidates(results: Results, scenario: str) -> list[Candidate]:
    """Every candidate of the protocol that was trained in a hospital, lam=0 first."""
    baseline = _means(results, scenario, 0.0)
    if baseline is None:
        return []
    found = []
    for lam in (0.0, *results.protocol.candidates):
        means = _means(results, scenario, lam)
        if means is not None:
            share = means[3] / baseline[3]
            allowed = lam > 0 and share >= results.protocol.least_efficiency
            found.append(Candidate(lam, int(means[0]), means[1], means[2], share, allowed))
    return found


def chosen(found: list[Candidate]) -> Candidate | None:
    """The candidate that the rule chooses: the smallest gap among those efficient enough; None if none is."""
    allowed = [candidate for candidate in found if candidate.allowed]
    return min(allowed, key=lambda candidate: (candidate.gap, candidate.lam), default=None)


def _means(results: Results, scenario: str, lam: float) -> tuple[float, float, float, float] | None:
    """Number of trainings, and their mean gap, worst rate and efficiency on validation episodes."""
    row = BASELINE if lam == 0 else f"lam={lam:g}"
    numbers = [each.result["validation"][results.protocol.mode] for each in results.trainings(scenario, row)]
    keys = ("gap", "worst", "efficiency")
    known = [[each[key] for key in keys] for each in numbers if all(each[key] is not None for key in keys)]
    if not known:
        return None
    gap, worst, efficiency = np.mean(known, axis=0)
    return len(known), float(gap), float(worst), float(efficiency)
