"""The policy that reads the mask from the observation."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from sb3_grpo import GroupRobustPPO
from sb3_grpo.common.masked_policies import MaskedActorCriticPolicy


class MaskInObservation(gym.Env):
    """Four actions, of which a random half is valid; the reward tells whether a valid one was chosen."""

    observation_space = spaces.Box(np.array([-1] * 3 + [0] * 4, np.float32), np.ones(7, np.float32))
    action_space = spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self._observe(), {}

    def _observe(self) -> np.ndarray:
        mask = self.np_random.permutation([1.0, 1.0, 0.0, 0.0])
        self.observation = np.concatenate([self.np_random.uniform(-1, 1, 3), mask]).astype(np.float32)
        return self.observation

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = float(self.observation[3 + action])
        info = {"group_id": 0}
        return self._observe(), reward, bool(self.np_random.random() < 0.1), False, info


@pytest.mark.parametrize("group_names", [None, ("all", "none")])
def test_only_valid_actions_in_training_and_prediction(group_names: tuple[str, ...] | None, tmp_path: Path) -> None:
    model = GroupRobustPPO(
        "MaskedMlpPolicy", MaskInObservation(), n_steps=64, batch_size=32, lam=0.3, group_names=group_names, seed=0
    )
    model.learn(128)
    assert isinstance(model.policy, MaskedActorCriticPolicy)
    assert model.rollout_buffer.rewards.min() == 1.0  # no invalid action in the whole rollout
    observations = np.stack([MaskInObservation().reset(seed=k)[0] for k in range(200)])
    for deterministic in (True, False):
        actions, _ = model.predict(observations, deterministic=deterministic)
        assert observations[np.arange(200), 3 + actions].min() == 1.0
    with th.no_grad():
        entropy = model.policy.get_distribution(th.as_tensor(observations)).entropy()
    assert entropy is not None and 0.0 < float(entropy.min()) and float(entropy.max()) <= np.log(2) + 1e-6
    model.save(tmp_path / "model")
    loaded = GroupRobustPPO.load(tmp_path / "model", env=MaskInObservation())
    assert np.array_equal(
        loaded.predict(observations, deterministic=True)[0], model.predict(observations, deterministic=True)[0]
    )
    loaded.learn(64)


def test_spaces_that_hold_no_mask_are_named() -> None:
    with pytest.raises(ValueError, match=r"observation_space: got Box.*expected a flat Box whose last 2 entries"):
        GroupRobustPPO("MaskedMlpPolicy", _TwoByTwo())
    with pytest.raises(ValueError, match="action_space: got Box"):
        GroupRobustPPO("MaskedMlpPolicy", "Pendulum-v1")
    with pytest.raises(ValueError, match=r"observation_space: got limits .* of the last 2 entries, .* with limits 0 and 1"):
        GroupRobustPPO("MaskedMlpPolicy", "CartPole-v1")  # ends with angle and speed of the pole


def test_normalised_masks_are_refused(tmp_path: Path) -> None:
    def stacked(norm_obs: bool) -> VecFrameStack:
        return VecFrameStack(VecNormalize(DummyVecEnv([MaskInObservation]), norm_obs=norm_obs), 2)

    message = "VecNormalize: got norm_obs=True .* MaskedActorCriticPolicy.*expected norm_obs=False"
    with pytest.raises(ValueError, match=message):
        GroupRobustPPO("MaskedMlpPolicy", stacked(True))
    with pytest.raises(ValueError, match=message):  # with a group critic the policy is another class
        GroupRobustPPO("MaskedMlpPolicy", stacked(True), group_names=("all", "none"))
    model = GroupRobustPPO("MaskedMlpPolicy", stacked(False), n_steps=32, batch_size=32, n_epochs=1, seed=0).learn(32)
    before = model.get_env()
    with pytest.raises(ValueError, match=message):
        model.set_env(stacked(True))
    assert model.get_env() is before
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        GroupRobustPPO.load(tmp_path / "model", env=stacked(True))
    GroupRobustPPO("MlpPolicy", stacked(True))  # reads no mask


class _TwoByTwo(MaskInObservation):
    observation_space = spaces.Box(-1.0, 1.0, (2,), dtype=np.float32)
    action_space = spaces.Discrete(2)
