"""Several trainings of each model together, with the training as the unit; and what they are compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hospital_gym.clinical.sepsis.exact import Worth, assess, best_policy, clinician_policy, uniform_policy
from hospital_gym.clinical.sepsis.grouping import GROUPINGS, start_groups
from hospital_gym.clinical.sepsis.mdp import SepsisMDP
from sb3_grpo.fairness.inference import Interval, SignificanceTest, mean_interval, welch_test
from sb3_grpo.fairness.inference.results import TRAINING_SEED

MODES: Final = {"drawn": "drawn", "most_likely": "most probable"}
"""How actions are chosen: as the policy says, or the most probable one."""

Found = Mapping[str, Any]
"""What one training found, see :mod:`sb3_grpo.study.tasks.sepsis`."""


@dataclass(frozen=True)
class Summary:
    """
    A model, with means over its trainings; intervals are Student's t.

    :param n: number of trainings
    :param episodes: patients trained on
    :param value: exact value
    :param length: expected number of decisions
    :param regret: value of the optimum less its own
    :param group_values: value by group
    :param group_regrets: regret by group
    :param value_variance: variance of the groups' values
    :param regret_variance: variance of the groups' regrets: the optimum's groups differ too, and this does not count that
    """

    n: int
    episodes: Interval
    value: Interval
    length: Interval
    regret: Interval
    group_values: Mapping[str, Interval]
    group_regrets: Mapping[str, Interval]
    value_variance: Interval
    regret_variance: Interval


def summarise(found: Sequence[Found], mode: str) -> Summary:
    """
    :param found: what the trainings of a model found, at least one
    :param mode: a key of :data:`MODES`
    """
    worths = [each[mode] for each in found]
    groups = tuple(worths[0]["group_values"])
    by_group = {key: {g: [worth[key][g] for worth in worths] for g in groups} for key in ("group_values", "group_regrets")}
    return Summary(
        n=len(found),
        episodes=_mean([each["episodes"] for each in found]),
        value=_mean([worth["value"] for worth in worths]),
        length=_mean([worth["length"] for worth in worths]),
        regret=_mean([worth["regret"] for worth in worths]),
        group_values={group: _mean(values) for group, values in by_group["group_values"].items()},
        group_regrets={group: _mean(values) for group, values in by_group["group_regrets"].items()},
        value_variance=_mean(variances(found, mode, "group_values")),
        regret_variance=_mean(variances(found, mode, "group_regrets")),
    )


def variances(found: Sequence[Found], mode: str, key: str) -> list[float]:
    """
    :param found: what the trainings of a model found
    :param mode: a key of :data:`MODES`
    :param key: ``"group_values"`` or ``"group_regrets"``
    :return: of each training the variance over groups, every group weighing the same
    """
    return [float(np.var(list(each[mode][key].values()))) for each in found]


def change(first: Sequence[float], second: Sequence[float]) -> SignificanceTest | None:
    """
    :param first: a number of each training of a model
    :param second: the same of another one
    :return: first less second, by Welch's test; None with fewer than two trainings of either
    """
    return welch_test(first, second) if min(len(first), len(second)) > 1 else None


def references(problem: SepsisMDP, group_by: str) -> dict[str, Worth]:
    """
    :param problem: the decision problem
    :param group_by: what patients are grouped by
    :return: what policies are worth that nobody had to learn
    """
    groups, n_groups = start_groups(problem, group_by), len(GROUPINGS[group_by])
    policies = {
        "worst possible": best_policy(problem, worst=True)[0],
        "uniform": uniform_policy(problem),
        "clinicians": clinician_policy(problem),
        "optimum": best_policy(problem)[0],
    }
    return {name: assess(problem, policy, groups, n_groups) for name, policy in policies.items()}


def _mean(values: Sequence[float]) -> Interval:
    return mean_interval(values, np.random.default_rng(0), TRAINING_SEED, "t")
