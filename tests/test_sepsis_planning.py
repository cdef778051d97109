"""Planning the treatment of sepsis on small made-up problems whose optimum is computed exactly."""

import numpy as np
import pytest
from scipy import stats

from hospital_gym.clinical.sepsis.exact import best_policy, policy_values, uniform_policy
from hospital_gym.clinical.sepsis.treatment_env import SepsisTreatmentEnv
from sb3_grpo import GroupRobustPPO
from sb3_grpo.planning.guide import Guide
from sb3_grpo.sepsis.planning import SepsisStateEnv, TableGuide, plan_everywhere
from tests.sepsis_problems import random_problem


def test_steps_and_draws_follow_the_probabilities() -> None:
    """1,000 steps one by one and 1,000 draws at once against the problem's numbers; p < 0.001 each in 0.2 % of seeds."""
    mdp = random_problem(0)
    env = SepsisStateEnv(mdp)
    env.reset(options={"state": 2}, seed=0)
    snapshot, row = env.snapshot(), mdp.matrix[[mdp.rows[2, 1]]].toarray()[0]
    single, many = np.zeros(mdp.n_states), np.zeros(mdp.n_states)
    for seed in range(1000):
        env.restore(snapshot)
        env.redraw_future(seed)
        single[env.step(1)[0]] += 1
    env.restore(snapshot)
    for count, state, _, ended, (after, _) in env.draw_outcomes(1, 1000, seed=5):
        many[state] += count
        assert (state == after) and ended == (state >= mdp.n_transient)
    possible = row > 0
    for counts in (single, many):
        assert counts.sum() == 1000 and (counts[~possible] == 0).all()
        assert stats.chisquare(counts[possible], 1000 * row[possible]).pvalue > 0.001


def test_a_snapshot_goes_on_alike_and_another_future_does_not() -> None:
    env = SepsisStateEnv(random_problem(0))
    env.reset(seed=1)
    snapshot = env.snapshot()

    def course(seed: int | None) -> list[int]:
        env.restore(snapshot)
        if seed is not None:
            env.redraw_future(seed)
        states: list[int] = []
        while env.state < env.mdp.n_transient and len(states) < 50:
            states.append(env.step(0)[0])
        return states

    assert course(None) == course(None) and len({tuple(course(seed)) for seed in range(8)}) > 1


@pytest.mark.parametrize("draws", [1, 32])
def test_planning_makes_a_policy_better(draws: int) -> None:
    """Nobody's prior and the uniform policy's exact values: the planner comes at least half way to the optimum."""
    mdp = random_problem(1)
    uniform = uniform_policy(mdp)
    worths, (_, best) = policy_values(mdp, uniform), best_policy(mdp)
    guide = TableGuide(uniform, worths, trust=0.0)
    planned = plan_everywhere(guide, SepsisStateEnv(mdp), 0, simulations=600, draws=draws, horizon=3, exploration=0.3)
    gained = mdp.first @ (policy_values(mdp, planned.table) - worths)
    assert gained > 0.5 * (mdp.first @ (best - worths)) > 0.0
    assert len(planned.seconds) == (mdp.admissible[: mdp.n_transient].sum(axis=1) > 1).sum()


def test_tables_of_a_model_are_what_it_says_in_each_state() -> None:
    env = SepsisTreatmentEnv(history=1, flat=True, mdp=random_problem(0))
    model = GroupRobustPPO("MaskedMlpPolicy", env, n_steps=16, batch_size=16, policy_kwargs=dict(net_arch=[8]), device="cpu")
    guide, direct = TableGuide.of_model(model, env, trust=1.0), Guide(model, env.mdp.n_actions)
    for state in range(env.mdp.n_transient):
        observation, _ = env.reset(options={"state": state}, seed=0)
        mask = env.action_masks()
        np.testing.assert_allclose(guide.prior(state, mask), direct.prior(observation, mask), atol=1e-6)
        np.testing.assert_allclose(guide.values([state]), direct.values([observation]), atol=1e-5)
    assert (guide.worths[env.mdp.n_transient :] == 0.0).all()
