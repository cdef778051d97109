"""GroupRobustMaskablePPO beyond what it shares with its parent."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from sb3_grpo import GroupRobustMaskablePPO
from sb3_grpo.cli.masks import CountInvalidActions
from sb3_grpo.common.group_buffers import GroupMaskableDictRolloutBuffer, GroupMaskableRolloutBuffer
from sb3_grpo.common.group_policies import (
    GroupMaskableActorCriticCnnPolicy,
    GroupMaskableActorCriticPolicy,
    GroupMaskableMultiInputActorCriticPolicy,
)
from tests.contrib_models import ONE_STEP, assert_gradient, make_maskable, masked_envs, one_update, standardised
from tests.toy_envs import SharedEnv


def rural() -> gym.Env:
    return gym.make("Hospital-Rural-v0")


def test_policies_and_buffers_get_groups() -> None:
    class Images(SharedEnv):
        observation_space = gym.spaces.Box(0, 255, (36, 36, 3), np.uint8)  # type: ignore[arg-type]

        def _observe(self) -> np.ndarray:
            return self.observation_space.sample()

    model = make_maskable().learn(32)
    assert type(model.policy) is GroupMaskableActorCriticPolicy and type(model.rollout_buffer) is GroupMaskableRolloutBuffer
    model = make_maskable(masked_envs(dicts=True), "MultiInputPolicy").learn(32)
    assert type(model.policy) is GroupMaskableMultiInputActorCriticPolicy
    assert type(model.rollout_buffer) is GroupMaskableDictRolloutBuffer
    images = make_vec_env(lambda: ActionMasker(Images(), lambda env: np.array([True, True])))
    model = make_maskable(images, "CnnPolicy", policy_kwargs={}).learn(16)
    assert type(model.policy) is GroupMaskableActorCriticCnnPolicy and model.policy.value_net.out_features == 2


@pytest.mark.parametrize("group_critic", [True, False])
def test_gradient_of_one_update(group_critic: bool) -> None:
    """Of one minibatch, against the loss written out. At the first update the ratio is 1, so nothing is clipped."""
    network = dict(net_arch=[8], optimizer_class=th.optim.SGD)
    model = make_maskable(batch_size=32, group_critic=group_critic, policy_kwargs=network, **ONE_STEP)
    policy, buffer, weights = update = one_update(model)
    if group_critic:
        advantages = standardised((buffer.group_advantages * weights).sum(axis=-1))
    else:
        advantages = standardised(buffer.advantages) * weights[buffer.group_ids]

    features = th.as_tensor(buffer.observations)  # (T, N, 3)
    values = policy.value_net(policy.mlp_extractor.forward_critic(features))
    logits = policy.action_net(policy.mlp_extractor.forward_actor(features))
    valid = th.as_tensor(buffer.action_masks) > 0
    assert not valid.all()
    log_probs = th.log_softmax(logits.masked_fill(~valid, -np.inf), dim=-1)
    chosen = log_probs.gather(-1, th.as_tensor(buffer.actions).long())[..., 0]
    np.testing.assert_allclose(chosen.detach(), buffer.log_probs, atol=1e-5)
    entropy = -(log_probs.exp() * log_probs.masked_fill(~valid, 0.0)).sum(dim=-1)
    returns = th.as_tensor(buffer.returns).reshape(values.shape)
    ratio = th.exp(chosen - chosen.detach())
    policy_loss = -(th.as_tensor(advantages) * ratio).mean()
    assert_gradient(model, update, policy_loss - 0.1 * entropy.mean() + 0.7 * ((returns - values) ** 2).mean())


def test_masks_are_respected_in_a_hospital() -> None:
    env = make_vec_env(rural, n_envs=4, seed=0)
    count = CountInvalidActions()
    model = GroupRobustMaskablePPO("MlpPolicy", env, n_steps=128, batch_size=512, n_epochs=2, seed=0, device="cpu")
    model.learn(2048, callback=count)
    assert count.invalid == 0 and count.with_choice > 1000
    assert model.group_critic


def test_invalid_actions_would_be_counted() -> None:
    lying = ActionMasker(rural(), lambda env: np.ones(32, dtype=bool))
    count = CountInvalidActions()
    GroupRobustMaskablePPO("MlpPolicy", lying, n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu").learn(64, count)
    assert count.invalid > 10 and count.with_choice == 64


def test_training_without_masks() -> None:
    model = make_maskable(make_vec_env(SharedEnv, seed=0))
    with pytest.raises(ValueError, match="does not support action masking"):
        model.learn(16)
    model.learn(16, use_masking=False)
    assert model.num_timesteps == 16
    model.learn(16, None, 1, "name", False, False)  # the parent's order of arguments
    assert model.num_timesteps == 32


def test_learn_has_a_default() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return False

    model = make_maskable().learn(callback=Stop())
    assert model._total_timesteps == 100_000


def test_masked_evaluation_of_sb3_contrib(tmp_path: Any) -> None:
    """A callback that evaluates in another hospital while training, and ``evaluate_policy``."""

    class Watched(gym.Wrapper):
        invalid = 0

        def step(self, action: Any) -> Any:
            result = self.env.step(action)
            Watched.invalid += bool(result[-1]["invalid_action"])
            return result

    def watched() -> gym.Env:
        return Watched(gym.wrappers.TimeLimit(rural(), 50))

    model = GroupRobustMaskablePPO("MlpPolicy", rural(), n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu")
    callback = MaskableEvalCallback(make_vec_env(watched, seed=1), n_eval_episodes=2, eval_freq=64, log_path=str(tmp_path))
    model.learn(64, callback=callback)
    assert np.isfinite(callback.last_mean_reward) and len(callback.evaluations_length[0]) == 2
    lengths = evaluate_policy(model, make_vec_env(watched, seed=1), 3, return_episode_rewards=True)[1]
    assert lengths == [50, 50, 50]
    assert Watched.invalid == 0
