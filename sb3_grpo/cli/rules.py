"""The rules that the commands compare: those in use today, and those that show what is attainable for each group."""

from collections.abc import Mapping
from typing import Any, Final

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from hospital_gym.degenerate import DEGENERATE_POLICIES
from hospital_gym.groups import Grouping
from hospital_gym.heuristics import HEURISTICS, Escalation, HeuristicPolicy, c_mu_index
from hospital_gym.simulator.layout import N_CLASSES
from sb3_grpo.cli.options import Hospital
from sb3_grpo.common.evaluation import EpisodeSet
from sb3_grpo.fairness.metrics import benefit_rates

_FIRST: Final = "first: "


def rules_for(hospital: Hospital) -> tuple[list[str], list[str]]:
    """Which rules in use today exist for a hospital.

    :param hospital: the hospital
    :return: names of those that do and of those that do not (those with tuned thresholds, in a hospital without any)
    """
    env = hospital.make_env()
    there, missing = [], []
    for name, make in HEURISTICS.items():
        try:
            make(env)
        except ValueError:
            missing.append(name)
        else:
            there.append(name)
    env.close()
    return there, missing


def group_first_rules(hospital: Hospital) -> list[str]:
    """Names of the rules that serve one group before everybody else, one for each group.

    :param hospital: the hospital
    """
    env = hospital.make_env()
    names = [f"{_FIRST}{group}" for group in env.get_wrapper_attr("group_names")]
    env.close()
    return names


def make_rule(name: str, env: gym.Env) -> HeuristicPolicy:
    """The rule of this name for an environment.

    :param name: a key of :data:`hospital_gym.heuristics.HEURISTICS` or of
        :data:`hospital_gym.degenerate.DEGENERATE_POLICIES`, or one of :func:`group_first_rules`
    :param env: a hospital environment
    """
    if not name.startswith(_FIRST):
        return {**HEURISTICS, **DEGENERATE_POLICIES}[name](env)
    scenario = env.get_wrapper_attr("scenario")
    grouping = Grouping(scenario)
    first = 1e6 * _classes_of(grouping, grouping.names.index(name.removeprefix(_FIRST))) + np.log(c_mu_index(scenario))
    return HeuristicPolicy(scenario, lambda s: np.broadcast_to(first, s.wait.shape), Escalation.best(scenario), grouping)


def _classes_of(grouping: Grouping, group: int) -> npt.NDArray[np.float64]:
    """1 for each queue class in which patients of the group stand who have not worsened, shape (9,)."""
    age, severity = np.divmod(np.arange(N_CLASSES), 3)
    anybody = np.zeros(N_CLASSES, dtype=np.int64)  # the published groups look at age and severity only
    attributes = {"age_band": age, "severity": severity, "sex": anybody, "quintile": anybody + 1}
    return (grouping.assign(attributes) == group).astype(np.float64)


def attainable_rates(evaluated: Mapping[str, EpisodeSet]) -> dict[str, dict[str, Any]]:
    """What is attainable for each group by itself: its highest benefit rate under any of the policies.

    Immediate treatment of everybody (rate 1) is out of reach where more is asked than there is, and how far differs by group.
    With the rules of :func:`group_first_rules` among the policies, each group once goes first in every queue. The groups'
    highest rates cannot be had together.

    :param evaluated: what happened under each policy, on the same episodes
    :return: by group name ``rate`` (None if the group is insufficient) and ``policy``
    """
    names = list(evaluated)
    rates = np.stack([benefit_rates(episodes.totals()) for episodes in evaluated.values()])
    best = np.where(np.isnan(rates), -np.inf, rates).argmax(axis=0)
    groups = next(iter(evaluated.values())).group_names
    return {
        group: {"rate": None if np.isnan(rates[row, k]) else float(rates[row, k]), "policy": names[row]}
        for k, (group, row) in enumerate(zip(groups, best, strict=True))
    }
