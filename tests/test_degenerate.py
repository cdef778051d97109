"""No loophole pays: policies that take one liberty whenever they may are worse than triage with tuned thresholds.

Forty episodes of a fixed seed with the same patients for every policy; what is compared is a difference of sums over them. On
a fresh seed the smallest differences would have the other sign in about one of four cases (refusing the elderly in Pediatric,
0.003) and one of six (surge beds in Rural, 0.004), two more in one of twenty and of seventy (refusing the elderly in Rural,
overtime in Pediatric), the rest in at most about one of a hundred: normal approximation from the intervals over 100 episodes
that ``sb3-grpo heuristics --degenerate --reference triage-tuned`` prints.
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


@pytest.mark.parametrize("policy", sorted(DEGENERATE_POLICIES))
@pytest.mark.parametrize("hospital", SCENARIOS)
def test_liberties_cost_efficiency(hospital: str, policy: str) -> None:
    assert outcome(hospital, policy)[0] < outcome(hospital, "triage-tuned")[0]


@pytest.mark.parametrize("hospital", SCENARIOS)
def test_starving_the_elderly_is_seen(hospital: str) -> None:
    """It costs little efficiency, for the elderly stay long: the harm that an average hides. The worst group shows it."""
    assert outcome(hospital, NEVER_ELDERLY)[1] < outcome(hospital, "triage-tuned")[1] - 0.08
