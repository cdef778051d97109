"""
Bandits whose optimum is known. The policy cannot see which of two groups, with shares 0.9 and 0.1, it serves.

Action 0 pays the groups (1, 0), action 1 (0.6, 0.3), action 2 (0, 0). So the average is best under action 0 and the worst
group under action 1, and (1 - lam) average + lam worst group changes over where 0.33 (1 - lam) = 0.3 lam: at lam = 0.524.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch as th

from sb3_grpo.common.group_advantages import combination_weights, combine_advantages
from sb3_grpo.common.group_infos import GroupStep
from sb3_grpo.common.objectives import GroupFacts, Minimax, ObjectiveState
from sb3_grpo.common.schedules import lam_schedule
from sb3_grpo.group_robust_ppo import GroupRobustPPO
from tests.toy_envs import BanditVecEnv

TWO_ACTIONS = np.array([[1.0, 0.6], [0.0, 0.3]])
THREE_ACTIONS = np.array([[1.0, 0.6, 0.0], [0.0, 0.3, 0.0]])
SHARES = np.array([0.9, 0.1])
NAMES = ("often", "rare")


def action_probabilities(model: GroupRobustPPO) -> np.ndarray:
    with th.no_grad():
        distribution = model.policy.get_distribution(th.ones(1, 1)).distribution
    return distribution.probs[0].numpy()  # type: ignore[union-attr]


@pytest.mark.parametrize("names", [NAMES, None], ids=["group critic", "sample weights"])
@pytest.mark.parametrize("payoffs", [TWO_ACTIONS, THREE_ACTIONS], ids=["two actions", "three actions"])
def test_minimax_serves_the_worst_group(payoffs: np.ndarray, names: Sequence[str] | None) -> None:
    """
    200 updates of 256 samples. In 20 seeds of each case J_min was at least 0.298, and P(action 2) at most 0.0033.
    """
    env = BanditVecEnv(payoffs, SHARES, num_envs=64, seed=0, names=names)
    model = GroupRobustPPO(
        "MlpPolicy",
        env,
        lam=1.0,
        n_steps=4,
        batch_size=256,
        n_epochs=4,
        learning_rate=1e-2,
        policy_kwargs=dict(net_arch=[]),
        seed=0,
        device="cpu",
    ).learn(200 * 256)
    probabilities = action_probabilities(model)
    performance = payoffs @ probabilities
    assert performance.min() >= 0.28
    if len(probabilities) == 3:
        assert probabilities[2] < 0.01


def switch_point(drift: Callable[[float], float]) -> float:
    """
    :param drift: How fast an update with lam moves the policy towards action 1; increasing in lam
    :return: The lam at which it does not move
    """
    low, high = 0.0, 1.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if drift(middle) > 0 else (middle, high)
    return (low + high) / 2


@pytest.mark.parametrize("probability", [0.02, 0.5, 0.98])
def test_switch_point_of_the_exact_expected_update(probability: float) -> None:
    """Expectation over groups and actions in closed form. The floor of the adversary moves the switch from 0.524 to 0.539."""
    policy = np.array([1 - probability, probability])
    performance = TWO_ACTIONS @ policy
    pooled = SHARES @ performance
    second_moment = SHARES @ (TWO_ACTIONS**2 @ policy)
    objective = Minimax()
    state: ObjectiveState = {}
    unknown = np.full(2, np.nan)
    facts = GroupFacts(np.sqrt(second_moment - pooled**2), pooled, SHARES, unknown, SHARES, unknown)
    for _ in range(300):
        coefficients, state = objective(performance, state, facts)

    # The reward of a sample belongs to its group: advantages (group served, action, group judged)
    advantages = TWO_ACTIONS[:, :, None] * np.eye(2)[:, None, :] - SHARES * performance
    score = np.array([-probability, 1 - probability])  # derivative of log P(action) by the logit of action 1

    def drift(lam: float) -> float:
        combined = combine_advantages(advantages, combination_weights(coefficients, SHARES, lam))
        return float(np.einsum("g,a,ga,a->", SHARES, policy, combined, score))

    assert switch_point(drift) == pytest.approx(0.524, abs=0.05)


@pytest.mark.parametrize("names", [NAMES, None], ids=["group critic", "sample weights"])
def test_switch_point_of_sb3_update(names: Sequence[str] | None) -> None:
    """
    The same through rollout buffer and ``train()``: 100 samples in the exact proportions of groups and actions, without noise,
    and a step of gradient ascent.
    """
    n_samples = 100
    env = BanditVecEnv(TWO_ACTIONS, SHARES, num_envs=n_samples, seed=0, names=names)
    model = GroupRobustPPO(
        "MlpPolicy",
        env,
        n_steps=1,
        batch_size=n_samples,
        n_epochs=1,
        learning_rate=1e-3,
        vf_coef=0.0,
        policy_kwargs=dict(net_arch=[], optimizer_class=th.optim.SGD),
        seed=0,
        device="cpu",
    )
    model._setup_learn(n_samples)
    start = {name: value.clone() for name, value in model.policy.state_dict().items() if "action_net" in name}
    for value in start.values():
        value.zero_()
    groups = np.repeat([0, 1], [90, 10])
    actions = np.arange(n_samples) % 2
    rewards = TWO_ACTIONS[groups, actions].astype(np.float32)
    n_values = 2 if names else 1

    def fill() -> None:
        buffer, done = model.rollout_buffer, np.ones(n_samples, dtype=bool)
        buffer.reset()
        buffer.stage(GroupStep(groups, None, None, None), done, rewards)
        values, log_probs = th.zeros(n_samples, n_values), th.full((n_samples,), float(np.log(0.5)))
        buffer.add(np.ones((n_samples, 1)), actions, rewards, done, values, log_probs)
        buffer.compute_returns_and_advantage(th.zeros(n_samples, n_values), done)
        model._update_group_state(done)

    def drift(lam: float) -> float:
        model.lam = lam
        model.lam_schedule = lam_schedule(lam)
        model.policy.load_state_dict(start, strict=False)
        fill()
        model.train()
        return float(action_probabilities(model)[1]) - 0.5

    for _ in range(200):  # the adversary comes to rest
        fill()
    assert drift(0.0) < -1e-5 and drift(1.0) > 1e-5
    assert switch_point(drift) == pytest.approx(0.524, abs=0.05)
