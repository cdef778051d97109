"""A discount per decision learns the wrong action where actions take different times; one on elapsed time the right one."""

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env

from sb3_grpo.group_robust_ppo import GroupRobustPPO
from tests.toy_envs import SemiMarkovEnv

DISCOUNT_TIME, GAMMA = 8.0, 0.9


def train(names: tuple[str, str] | None, discount_time: float | bool) -> tuple[np.ndarray, float]:
    """Probabilities of the two actions and value of the one state after training."""
    env = make_vec_env(SemiMarkovEnv, n_envs=8, seed=0, env_kwargs=dict(group_names=names))
    model = GroupRobustPPO(
        "MlpPolicy",
        env,
        lam=0,
        discount_time=discount_time,
        gamma=GAMMA,
        n_steps=32,
        batch_size=256,
        n_epochs=4,
        learning_rate=5e-2,
        policy_kwargs=dict(net_arch=[]),
        seed=0,
        device="cpu",
    ).learn(10_000)
    observation = th.ones(1, 1)
    with th.no_grad():
        values = model.policy.predict_values(observation)
        probabilities = model.policy.get_distribution(observation).distribution.probs  # type: ignore[union-attr]
    assert values.shape == (1, 2 if names else 1)
    return probabilities[0].numpy(), float(values.sum())


@pytest.mark.parametrize("names", [None, ("odd", "even")])
def test_discount_on_elapsed_time_finds_the_optimum(names: tuple[str, str] | None) -> None:
    probabilities, value = train(names, DISCOUNT_TIME)
    worth = [r / (1 - np.exp(-t / DISCOUNT_TIME)) for r, t in zip(SemiMarkovEnv.rewards, SemiMarkovEnv.hours, strict=True)]
    assert worth[0] > 2 * worth[1]
    assert probabilities[0] > 0.98
    assert value == pytest.approx(worth[0], rel=0.02)


@pytest.mark.parametrize("names", [None, ("odd", "even")])
def test_discount_per_decision_finds_another(names: tuple[str, str] | None) -> None:
    probabilities, value = train(names, False)
    assert probabilities[1] > 0.98
    if names:  # a scalar critic needs longer for the larger value
        assert value == pytest.approx(SemiMarkovEnv.rewards[1] / (1 - GAMMA), rel=0.02)
