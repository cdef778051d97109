"""Drawn actions follow the policy's distribution, and only the row's own stream."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.distributions import MaskableDistribution
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.distributions import Distribution

from sb3_grpo.common.action_draws import action_distribution, draws_from

N = 4000


class AnyEnv(gym.Env[np.ndarray, Any]):
    """Has spaces, and nothing else is asked of it."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, action_space: spaces.Space) -> None:
        self.action_space = action_space

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(2, dtype=np.float32), {}


def drawn(model: Any, n: int = N, first: int = 0, **kwargs: Any) -> np.ndarray:
    """Actions for n equal observations, row i drawn from generator i."""
    distribution = action_distribution(model)
    assert distribution is not None
    observation = np.full((n, 2), 0.3, dtype=np.float32)
    with draws_from(distribution, [np.random.default_rng([7, row]) for row in range(first, first + n)]):
        return model.predict(observation, deterministic=False, **kwargs)[0]


def parameters(model: Any) -> Any:
    """The distribution's own object, with the parameters of the last batch."""
    distribution = action_distribution(model)
    assert isinstance(distribution, Distribution | MaskableDistribution)
    return getattr(distribution, "distributions", None) or distribution.distribution


SPACES: dict[str, spaces.Space] = {
    "discrete": spaces.Discrete(4),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(3),
    "box": spaces.Box(-100.0, 100.0, (2,), np.float32),
}


@pytest.mark.parametrize("kind", SPACES)
def test_frequencies_are_those_of_the_policy(kind: str) -> None:
    """Means over N draws lie within 4.5 standard errors: at most 12 comparisons here, which fails once in ten thousand."""
    th.manual_seed(0)
    model = A2C("MlpPolicy", AnyEnv(SPACES[kind]), seed=0, device="cpu")
    for parameter in model.policy.action_net.parameters():
        th.nn.init.normal_(parameter)  # untrained policies are nearly uniform
    actions, inner = drawn(model), parameters(model)
    if isinstance(inner, list):
        pairs = [((actions[:, k, None] == np.arange(part.probs.shape[1])), part.probs) for k, part in enumerate(inner)]
    elif kind == "discrete":
        pairs = [(actions[:, None] == np.arange(4), inner.probs)]
    else:
        pairs = [(actions, inner.mean)]
        if kind == "box":
            np.testing.assert_allclose(actions.std(axis=0), inner.stddev[0].detach().numpy(), rtol=4.5 / np.sqrt(2 * N))
    for found, expected in pairs:
        mean = expected[0].detach().numpy()
        np.testing.assert_array_less(np.abs(found.mean(axis=0) - mean), 4.5 * found.std(axis=0) / np.sqrt(N) + 1e-9)


@pytest.mark.parametrize("kind", SPACES)
def test_a_row_depends_on_its_stream_alone(kind: str) -> None:
    model = PPO("MlpPolicy", AnyEnv(SPACES[kind]), n_steps=8, batch_size=8, device="cpu", seed=0)
    th.manual_seed(1)
    before = th.get_rng_state()
    many = drawn(model, 16)
    np.testing.assert_allclose(many[5:9], drawn(model, 4, first=5), rtol=1e-5)
    assert th.equal(th.get_rng_state(), before)
    model.predict(np.zeros((2, 2), dtype=np.float32))  # afterwards the policy draws as it always did
    assert not th.equal(th.get_rng_state(), before)


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.MultiDiscrete([2, 2])])
def test_invalid_actions_are_never_drawn(space: spaces.Space) -> None:
    model = MaskablePPO("MlpPolicy", AnyEnv(space), n_steps=8, batch_size=8, device="cpu")
    masks = np.tile([False, True, True, False], (N, 1))
    actions = drawn(model, action_masks=masks).reshape(N, -1)
    assert np.unique(actions, axis=0).tolist() == ([[1], [2]] if isinstance(space, spaces.Discrete) else [[1, 0]])


def test_squashed_actions_stay_inside_and_policies_without_distribution_say_so() -> None:
    env = AnyEnv(spaces.Box(-2.0, 2.0, (1,), np.float32))
    actions = drawn(SAC("MlpPolicy", env, device="cpu", buffer_size=10), 500)
    assert np.abs(actions).max() < 2 and actions.std() > 0.5
    assert action_distribution(DQN("MlpPolicy", AnyEnv(spaces.Discrete(2)), device="cpu", buffer_size=10)) is None
    assert action_distribution(PPO("MlpPolicy", env, use_sde=True, device="cpu")) is None
