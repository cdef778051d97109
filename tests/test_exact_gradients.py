"""
The update of GroupRobustPPO is the gradient of what its objective states.

SB3's own ``train()`` updates a policy table from a rollout in exact proportions with exact values; what moved is
compared with central finite differences of (1 - lam) average + lam J(performance).
"""

from typing import Any

import numpy as np
import pytest
from id_only_gradients import (
    Problem,
    TableEnv,
    by_id,
    cosine,
    exact_samples,
    fill,
    finite_differences,
    one_update_model,
    own_episodes,
    policy_table,
    shared_queue,
    solve,
    update_direction,
    worst_group,
)

from sb3_grpo import GroupRobustPPO
from sb3_grpo.common.schedules import lam_schedule
from tests.tabular import OBJECTIVES, random_policy, three_queues, trade_off

ROWS = 16_000


def simulated_rates(problem: Problem, logits: np.ndarray, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Performance of each group and its standard error (linearised ratio), by playing episodes."""
    env, rng = TableEnv(problem), np.random.default_rng(1)
    policy = np.exp(logits - logits.max(-1, keepdims=True)).cumsum(-1).reshape(-1, logits.shape[-1])
    env.reset(seed=0)
    sums = np.zeros((episodes, 2, problem.rewards.shape[-1]))
    for episode in range(episodes):
        observation, ended = env.reset()[0], False
        while not ended:
            action = int(np.searchsorted(policy[observation], rng.random() * policy[observation, -1]))
            observation, _, ended, _, info = env.step(action)
            sums[episode] += info["group_rewards"], info["group_exposure"]
    benefit, exposure = sums.transpose(1, 0, 2)
    rates = benefit.sum(0) / exposure.sum(0)
    return rates, np.sqrt(np.square(benefit - rates * exposure).sum(0)) / exposure.sum(0)


@pytest.mark.parametrize("problem", [three_queues(), own_episodes()], ids=["three queues", "own episodes"])
def test_exact_solution_agrees_with_play(problem: Problem) -> None:
    """Within 4 standard errors: chance of failing by bad luck 6e-5 per group, fixed seed."""
    logits = random_policy(problem, 0)
    rates, errors = simulated_rates(problem, logits, 1500)
    assert (errors > 0).all()
    np.testing.assert_array_less(np.abs(rates - solve(problem, logits).performance), 4 * errors)


def test_exposure_does_not_depend_on_the_policy() -> None:
    problem = three_queues()
    shares = [solve(problem, random_policy(problem, seed)).shares for seed in range(3)]
    np.testing.assert_allclose(shares[1:], [shares[0]] * 2, rtol=1e-12)


def model_with(problem: Problem, name: str, lam: float, **kwargs: Any) -> GroupRobustPPO:
    """The lam is set afterwards: as an argument, lam=1 draws a warning for 'gap'."""
    objective, parameters, _ = OBJECTIVES[name]
    model = one_update_model(problem, ROWS, 0.5, objective=objective, objective_kwargs=parameters, **kwargs)
    model.lam_schedule = lam_schedule(lam)
    return model


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_update_is_the_gradient_of_the_stated_objective(name: str) -> None:
    """The least cosine was 0.99996 at these three policies; what is missing is rounding to whole samples."""
    problem = three_queues()
    model = model_with(problem, name, 0.0)
    for lam, seed in ((0.3, 0), (0.9, 1), (1.0, 2)):
        logits = random_policy(problem, seed)
        model.lam_schedule = lam_schedule(lam)
        direction = update_direction(model, problem, logits, ROWS)
        gradient = finite_differences(problem, logits, trade_off(lam, OBJECTIVES[name][2], model))
        assert cosine(direction, gradient) > 0.9999


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_robust_term_has_its_own_gradient(name: str) -> None:
    """
    Without standardisation an update is linear in lam, and (up to what an episode holds of exposure and of decisions) it is
    the gradient in size, too. So the update with lam less its share of lam=0 is that of the robust term alone.
    """
    problem, lam = three_queues(), 0.4
    logits = random_policy(problem, 3)
    model = model_with(problem, name, lam, normalize_advantage=False)
    both = update_direction(model, problem, logits, ROWS)
    gradient = finite_differences(problem, logits, trade_off(1.0, OBJECTIVES[name][2], model))
    model.lam_schedule = lam_schedule(0.0)
    robust = both - (1 - lam) * update_direction(model, problem, logits, ROWS)

    exposure = solve(problem._replace(rewards=problem.exposure), logits)
    occupancy = exposure.occupancy.sum()
    patients = float((problem.first @ exposure.values[0]).sum())
    assert np.linalg.norm(gradient) > 1e-3
    assert cosine(robust, gradient) > 0.9999
    assert np.linalg.norm(robust) == pytest.approx(lam * patients / occupancy * np.linalg.norm(gradient), rel=0.01)


def test_levelling_up_only_is_the_gradient_of_the_soft_minimum() -> None:
    problem = three_queues()
    logits = random_policy(problem, 4)
    updates = [
        update_direction(
            one_update_model(problem, ROWS, 0.7, objective=name, objective_kwargs=dict(temperature=2.0)), problem, logits, ROWS
        )
        for name in ("gap", "softmin")
    ]
    assert np.linalg.norm(updates[0]) > 0
    np.testing.assert_allclose(updates[0], updates[1], atol=1e-4 * np.abs(updates[0]).max())
    both_sides = update_direction(model_with(problem, "gap", 0.7), problem, logits, ROWS)
    assert cosine(both_sides, updates[0]) < 0.9


def test_max_loss_picks_a_group_at_random_and_so_misses_the_gradient_of_the_minimum() -> None:
    """
    The critic knows the group: each group has its own states, and values are exact. 200 rollouts of 300 samples, drawn; the
    worst group is chosen as often as not, within 4 standard errors of 200 fair coins (6e-5; fixed seed).
    """
    problem, rng, rows = own_episodes(), np.random.default_rng(0), 300
    logits = random_policy(problem, 0)
    solution = solve(problem, logits)
    gradient = finite_differences(problem, logits, lambda s: float(s.performance.min()))
    model = one_update_model(problem, rows, 1.0, objective="max_loss")
    chances = (solution.occupancy / solution.occupancy.sum()).ravel()
    chosen, cosines = [], []
    for _ in range(200):
        where = np.unravel_index(rng.choice(len(chances), rows, p=chances), solution.occupancy.shape)
        fill(model, problem, logits, where, split=True)
        assert model.group_state is not None
        chosen.append(int(model.group_state["coefficients"].argmax()))
        model.train()
        moved = policy_table(model).weight.detach().numpy().T.reshape(logits.shape) - logits
        cosines.append(cosine(moved, gradient))
    right = np.array(chosen) == solution.performance.argmin()
    assert np.ptp(solution.performance) > 1.0  # no close race: 200 rollouts tell the worst group without doubt
    assert abs(right.mean() - 0.5) < 4 * 0.5 / np.sqrt(200)
    assert np.abs(np.array(cosines)[~right]).max() < 1e-3  # another group's states: nothing to do with the minimum
    assert np.array(cosines)[right].mean() > 0.5


def test_samples_of_weight_zero_have_no_gradient() -> None:
    """
    Even with a critic that is wrong by a different number for each group, where a standardisation after the weights would
    give them one.
    """
    problem = own_episodes()
    logits = random_policy(problem, 0)
    model = one_update_model(problem, ROWS, 1.0, objective=worst_group, group_critic=False)
    fill(model, problem, logits, exact_samples(solve(problem, logits).occupancy, ROWS), split=True)
    assert model.group_state is not None
    coefficients = model.group_state["coefficients"]
    model.rollout_buffer.advantages += np.where(model.rollout_buffer.group_ids == coefficients.argmax(), 3.0, -2.0)
    model.train()
    moved = policy_table(model).weight.detach().numpy().T.reshape(logits.shape) - logits.astype(np.float32)
    idle = problem.ids == coefficients.argmin()
    assert (moved[idle] == 0).all() and np.abs(moved[~idle]).max() > 0


@pytest.mark.parametrize("lam", [0.3, 1.0])
@pytest.mark.parametrize("name", ["softmin", "cvar"])
def test_ids_are_enough_where_an_episode_belongs_to_one_group(name: str, lam: float) -> None:
    """Group critic and sample weights move the policy alike, and along the gradient. The least cosine was 0.99999."""
    problem = own_episodes()
    logits = random_policy(problem, 0)
    models = [model_with(problem, name, lam, group_critic=critic) for critic in (True, False)]
    by_critic, by_weights = (update_direction(model, problem, logits, ROWS, split=False) for model in models)
    gradient = finite_differences(problem, logits, trade_off(lam, OBJECTIVES[name][2], models[0]))
    assert cosine(by_critic, by_weights) > 0.9999
    assert cosine(by_critic, gradient) > 0.9999


def test_ids_are_not_enough_where_groups_share_a_queue() -> None:
    """The numbers are those of the documentation: after a small step the worst group is better off, or worse off."""
    problem = shared_queue()
    uniform = np.zeros(problem.rewards.shape[:3])
    gradient = finite_differences(problem, uniform, lambda s: float(s.performance.min()))
    worst = solve(problem, uniform).performance.min()
    found = {}
    for seen, split in ((problem, True), (by_id(problem), False)):
        for critic in (True, False):
            model = one_update_model(seen, ROWS, 1.0, objective=worst_group, group_critic=critic)
            direction = update_direction(model, seen, uniform, ROWS, split)
            after = solve(problem, uniform + 0.5 * direction / np.linalg.norm(direction)).performance.min()
            found[split, critic] = (cosine(direction, gradient), after - worst)
    assert found[True, True][0] > 0.9999 and found[True, True][1] == pytest.approx(0.0147, abs=5e-4)
    for split in (True, False):
        assert found[split, False] == pytest.approx((-0.26, -0.0039), abs=5e-3)
    assert found[False, True] == pytest.approx((0.48, 0.0072), abs=5e-3)
