"""The comparisons that a study is made for: a row of models against lam=0, with the training as the unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sb3_grpo.fairness.inference import (
    Interval,
    SignificanceTest,
    adjust_p_values,
    cohens_d,
    mean_interval,
    ratio_of_means,
    welch_test,
)
from sb3_grpo.fairness.inference.results import TRAINING_SEED
from sb3_grpo.fairness.metrics import FloatArray
from sb3_grpo.study.report.data import BASELINE, Played, Results, values


@dataclass(frozen=True)
class Against:
    """A row of models against another one in one hospital; every interval is over trainings.

    :param scenario: the hospital
    :param row: the row
    :param gap: test of the difference in the gap
    :param effect: Cohen's d of that difference
    :param reduction: 1 - mean gap / mean gap of the other row: by how much the gap shrank
    :param efficiency: mean efficiency / that of the other row
    :param worst: test of the difference in the worst group's rate
    :param groups: tests of the difference in each group's rate, by name
    :param n: number of trainings of both rows
    """

    scenario: str
    row: str
    gap: SignificanceTest
    effect: Interval
    reduction: Interval
    efficiency: Interval
    worst: SignificanceTest
    groups: Mapping[str, SignificanceTest]
    n: tuple[int, int]

    @property
    def losses(self) -> dict[str, float]:
        """How much each group lost, of those that lost."""
        return {name: -test.difference for name, test in self.groups.items() if test.difference < 0}

    @property
    def harms_more_than_it_helps(self) -> bool:
        """Whether some group lost more than the worst-off gained."""
        return max(self.losses.values(), default=0.0) > max(self.worst.difference, 0.0)

    @property
    def levels_down(self) -> bool:
        """Whether the gap shrank although the worst-off group's rate did not rise."""
        return self.gap.difference < 0 and self.worst.difference <= 0


@dataclass(frozen=True)
class Primary:
    """The comparison fixed beforehand in one hospital.

    :param against: the chosen lam against lam=0
    :param p_corrected: of the gap, by Holm over the hospitals
    :param meets_target: whether the gap shrank by the claimed share, the efficiency's lower limit is above the protocol's, and
        the corrected p value below alpha
    """

    against: Against
    p_corrected: float
    meets_target: bool


def compare(new: Sequence[Played], old: Sequence[Played], scenario: str, row: str) -> Against | None:
    """Compare two rows of models.

    :param new: tests of the row
    :param old: tests of the row that it is held against
    :param scenario: the hospital
    :param row: name of the row
    :return: the comparison; None with fewer than two trainings of either, or groups without rates
    """
    gaps, worsts, efficiencies = ((values(new, key), values(old, key)) for key in ("gap", "worst", "efficiency"))
    if min(len(sample) for pair in (gaps, worsts, efficiencies) for sample in pair) < 2:
        return None
    ratio = ratio_of_means(*gaps)
    reduction = Interval(1 - ratio.value, 1 - ratio.high, 1 - ratio.low, TRAINING_SEED, ratio.n, ratio.method)
    groups = {}
    for name in new[0].numbers["rates"]:
        rates = values(new, f"rates/{name}"), values(old, f"rates/{name}")
        if min(map(len, rates)) >= 2:
            groups[name] = welch_test(*rates)
    return Against(
        scenario=scenario,
        row=row,
        gap=welch_test(*gaps),
        effect=cohens_d(*gaps),
        reduction=reduction,
        efficiency=ratio_of_means(*efficiencies),
        worst=welch_test(*worsts),
        groups=groups,
        n=(len(gaps[0]), len(gaps[1])),
    )


def primary(results: Results, elsewhere: str = "", mode: str | None = None) -> list[Primary]:
    """The protocol's comparison in every hospital that has it.

    :param results: the results
    :param elsewhere: in hospitals changed so
    :param mode: how models act; default: as the protocol says
    """
    found = []
    for scenario in results.scenarios:
        row = results.chosen_row(scenario)
        if row is not None:
            new, old = (results.tests(scenario, name, mode, elsewhere) for name in (row, BASELINE))
            against = compare(new, old, scenario, row)
            if against is not None:
                found.append(against)
    corrected = adjust_p_values([against.gap.p_value for against in found], "holm")
    protocol = results.protocol
    return [
        Primary(
            against,
            float(p),
            against.reduction.value >= protocol.target
            and against.efficiency.low > protocol.non_inferiority
            and bool(p < protocol.alpha),
        )
        for against, p in zip(found, corrected, strict=True)
    ]


def rows_against_baseline(results: Results, scenario: str, mode: str | None = None) -> dict[str, Against | None]:
    """Every other row of models against lam=0, by row."""
    old = results.tests(scenario, BASELINE, mode)
    rows = [row for row in results.model_rows(scenario) if row != BASELINE]
    return {row: compare(results.tests(scenario, row, mode), old, scenario, row) for row in rows}


def over_trainings(sample: FloatArray) -> Interval:
    """Mean over trainings with Student's t interval; NaN without any, no interval with one."""
    if len(sample) == 0:
        return Interval(np.nan, np.nan, np.nan, TRAINING_SEED, 0, "none")
    return mean_interval(sample, np.random.default_rng(0), TRAINING_SEED, "t")


def against_rule(results: Results, scenario: str, row: str, rule: str, key: str, ratio: bool = False) -> Interval:
    """A row of models less a rule that played the same episodes (or divided by it); over trainings, the rule being fixed.

    :param results: the results
    :param scenario: the hospital
    :param row: the row
    :param rule: name of the rule
    :param key: the number that is compared
    :param ratio: whether to divide
    """
    models, rules = (values(results.tests(scenario, name), key) for name in (row, rule))
    if len(rules) != 1:
        return over_trainings(np.array([]))
    return over_trainings(models / rules[0] if ratio else models - rules[0])
