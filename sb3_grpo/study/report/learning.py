"""How fast and how evenly models learn, from the validation episodes played while they train."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from sb3_grpo.fairness.metrics import FloatArray
from sb3_grpo.study.report.data import BASELINE, Results, values

REACHED: Final = 0.99
"""Share of lam=0's efficiency at the end of training that counts as having learned."""


@dataclass(frozen=True)
class Curves:
    """Learning curves of a row, one line per training.

    :param steps: time steps of the looks, (K,)
    :param curves: (S, K) by quantity: ``efficiency``, ``worst``, ``gap``; NaN where there is no rate
    """

    steps: FloatArray
    curves: dict[str, FloatArray]


@dataclass(frozen=True)
class Pace:
    """How fast and how evenly a row learns against lam=0.

    :param steps: mean time steps until :data:`REACHED` of lam=0's final efficiency, of the trainings that reach it
    :param baseline_steps: the same of lam=0
    :param reached: how many trainings of the row reach it, of how many
    :param deviation: standard deviation over trainings of the test efficiency and gap, by name
    :param baseline_deviation: the same of lam=0
    :param p_variance: Brown-Forsythe test that both rows spread alike, by name
    """

    steps: float
    baseline_steps: float
    reached: tuple[int, int]
    deviation: dict[str, float]
    baseline_deviation: dict[str, float]
    p_variance: dict[str, float]


def curves(results: Results, scenario: str, row: str) -> Curves | None:
    """The learning curves of a row in the protocol's mode, None if there are none of the same looks."""
    trained = results.trainings(scenario, row)
    looks = [[look["steps"] for look in each.result["curve"]] for each in trained]
    if not looks or any(other != looks[0] for other in looks):
        return None
    mode = results.protocol.mode
    return Curves(
        np.array(looks[0], dtype=np.float64),
        {
            key: np.array(
                [[np.nan if look[mode][key] is None else look[mode][key] for look in each.result["curve"]] for each in trained]
            )
            for key in ("efficiency", "worst", "gap")
        },
    )


def steps_until(steps: FloatArray, curve: FloatArray, level: float) -> float:
    """Time steps at which a curve first reaches a level, by a straight line between looks; NaN if it never does.

    :param steps: (K,) time steps, ascending
    :param curve: (K,) values
    :param level: the level
    """
    reached = np.flatnonzero(curve >= level)
    if len(reached) == 0:
        return float("nan")
    k = int(reached[0])
    if k == 0:
        return float(steps[0])
    share = (level - curve[k - 1]) / (curve[k] - curve[k - 1])
    return float(steps[k - 1] + share * (steps[k] - steps[k - 1]))


def pace(results: Results, scenario: str, row: str) -> Pace | None:
    """How a row learns against lam=0; None without two trainings of both."""
    new, old = curves(results, scenario, row), curves(results, scenario, BASELINE)
    if new is None or old is None:
        return None
    level = REACHED * float(np.nanmean(old.curves["efficiency"][:, -1]))
    until, until_old = (
        np.array([steps_until(each.steps, curve, level) for curve in each.curves["efficiency"]]) for each in (new, old)
    )
    samples = {
        key: tuple(values(results.tests(scenario, name), key) for name in (row, BASELINE)) for key in ("efficiency", "gap")
    }
    if any(len(sample) < 2 for pair in samples.values() for sample in pair):
        return None
    return Pace(
        steps=_mean(until),
        baseline_steps=_mean(until_old),
        reached=(int(np.isfinite(until).sum()), len(until)),
        deviation={key: float(pair[0].std(ddof=1)) for key, pair in samples.items()},
        baseline_deviation={key: float(pair[1].std(ddof=1)) for key, pair in samples.items()},
        p_variance={key: _same_spread(*pair) for key, pair in samples.items()},
    )


def _mean(numbers: FloatArray) -> float:
    known = numbers[np.isfinite(numbers)]
    return float(known.mean()) if len(known) else float("nan")


def _same_spread(one: FloatArray, other: FloatArray) -> float:
    """P value of the Brown-Forsythe test; NaN where nothing spreads."""
    if max(np.ptp(one), np.ptp(other)) == 0 or min(len(one), len(other)) < 3:
        return float("nan")
    return float(stats.levene(one, other, center="median").pvalue)
