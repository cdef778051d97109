"""No loophole pays: policies that take one liberty whenever they may are worse than triage with tuned thresholds.

Forty episodes with the same patients for every policy; what is compared is a difference of sums over them. The same is printed
with intervals by ``sb3-grpo heuristics --degenerate --reference triage-tuned``.
"""

from functools import cache

import gymnasium as gym
import numpy as np
import pytest

from hospital_gym.degenerate import DEGENERATE_POLICIES
from hospital_gym.heuristics import HEURISTICS
from hospital_gym.scenarios import SCENARIOS
from sb3_grpo.common.evaluation import evaluate_episodes

N_EPISODES = 40
NEVER_ELDERLY = "never-elderly"


@cache
def outcome(hospital: str, policy: str) -> tuple[float, float]:
    """Efficiency and worst benefit rate."""

    def make_env() -> gym.Env:
        return gym.make(f"Hospital-{hospital}-v0", disable_env_checker=True)

    rule = {**HEURISTICS, **DEGENERATE_POLICIES}[policy](make_env())
    episodes = evaluate_episodes(rule, make_env, N_EPISODES, seed=7, n_envs=N_EPISODES)
    totals = episodes.totals()
    efficiency = (totals.benefit.sum() - episodes.costs.sum()) / totals.demand.sum()
    return float(efficiency), float(np.min(totals.benefit.sum(axis=0) / totals.demand.sum(axis=0)))


@pytest.mark.parametrize("policy", sorted(set(DEGENERATE_POLICIES) - {NEVER_ELDERLY}))
@pytest.mark.parametrize("hospital", SCENARIOS)
def test_liberties_cost_efficiency(hospital: str, policy: str) -> None:
    assert outcome(hospital, policy)[0] < outcome(hospital, "triage-tuned")[0]


@pytest.mark.parametrize("hospital", SCENARIOS)
def test_starving_the_elderly_is_seen(hospital: str) -> None:
    """It may save about as much efficiency as c-mu does, which is the harm to be seen; the worst group shows it at once."""
    efficiency, worst = outcome(hospital, NEVER_ELDERLY)
    assert efficiency < outcome(hospital, "c-mu-tuned")[0]
    assert worst < outcome(hospital, "triage-tuned")[1] - 0.08
