"""GroupRobustRecurrentPPO beyond what it shares with its parent."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.vec_env import VecNormalize

from hospital_gym.observation import ObservationLayout
from hospital_gym.wrappers import HideFields
from sb3_grpo import GroupRobustRecurrentPPO
from sb3_grpo.common.group_buffers import GroupRecurrentDictRolloutBuffer, GroupRecurrentRolloutBuffer
from sb3_grpo.common.group_policies import (
    GroupMaskedRecurrentActorCriticPolicy,
    GroupRecurrentActorCriticCnnPolicy,
    GroupRecurrentActorCriticPolicy,
    GroupRecurrentMultiInputActorCriticPolicy,
)
from tests.contrib_models import CRITICS, LSTM, ONE_STEP, assert_gradient, make_recurrent, one_update, standardised
from tests.test_masked_policies import MaskInObservation
from tests.toy_envs import DictEnv, SharedEnv


def test_policies_and_buffers_get_groups() -> None:
    class Images(SharedEnv):
        observation_space = gym.spaces.Box(0, 255, (36, 36, 3), np.uint8)  # type: ignore[arg-type]

        def _observe(self) -> np.ndarray:
            return self.observation_space.sample()

    model = make_recurrent().learn(32)
    assert type(model.policy) is GroupRecurrentActorCriticPolicy and type(model.rollout_buffer) is GroupRecurrentRolloutBuffer
    model = make_recurrent(make_vec_env(lambda: DictEnv(SharedEnv()), n_envs=2), "MultiInputLstmPolicy").learn(32)
    assert type(model.policy) is GroupRecurrentMultiInputActorCriticPolicy
    assert type(model.rollout_buffer) is GroupRecurrentDictRolloutBuffer
    model = make_recurrent(make_vec_env(Images), "CnnLstmPolicy").learn(16)
    assert type(model.policy) is GroupRecurrentActorCriticCnnPolicy and model.policy.value_net.out_features == 2


def remembered(lstm: th.nn.LSTM, buffer: Any, states: tuple[np.ndarray, np.ndarray], cut: int) -> th.Tensor:
    """
    Output of an LSTM for a rollout, one step after the other, (T, N, hidden). The gradient does not go back beyond the first
    step, and in environment 0 not beyond step ``cut`` either.
    """
    outputs = []
    hidden, cell = (th.as_tensor(state[0]) for state in states)  # (layers, N, hidden)
    first = th.arange(buffer.n_envs)[None, :, None] == 0
    for step, observations in enumerate(th.as_tensor(buffer.observations)):
        if step == cut:
            hidden, cell = th.where(first, hidden.detach(), hidden), th.where(first, cell.detach(), cell)
        keep = 1.0 - th.as_tensor(buffer.episode_starts[step])[None, :, None]
        output, (hidden, cell) = lstm(observations[None], (keep * hidden, keep * cell))
        outputs.append(output[0])
    return th.stack(outputs)


@pytest.mark.parametrize("group_critic", [True, False])
@pytest.mark.parametrize("cut", [0, 5])
def test_gradient_of_one_update(group_critic: bool, cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Of one minibatch of two rollouts with episodes of 7 steps, so mostly sequences of unequal length, against the loss written
    out. RecurrentPPO begins the minibatch at a random sample and ends it with the one before, so cuts one sequence in two.
    """
    monkeypatch.setattr(np.random, "randint", lambda high: cut)
    network = dict(**LSTM, optimizer_class=th.optim.SGD)
    model = make_recurrent(batch_size=32, group_critic=group_critic, policy_kwargs=network, **ONE_STEP)
    policy, buffer, weights = update = one_update(model)
    if group_critic:
        advantages = standardised((buffer.group_advantages * weights).sum(axis=-1))
    else:
        advantages = standardised(buffer.advantages) * weights[buffer.group_ids]

    latent_pi = remembered(policy.lstm_actor, buffer, (buffer.hidden_states_pi, buffer.cell_states_pi), cut)
    latent_vf = remembered(policy.lstm_critic, buffer, (buffer.hidden_states_vf, buffer.cell_states_vf), cut)
    values = policy.value_net(policy.mlp_extractor.forward_critic(latent_vf))
    np.testing.assert_allclose(values.detach().squeeze(-1), buffer.values, atol=1e-5)
    log_probs = th.log_softmax(policy.action_net(policy.mlp_extractor.forward_actor(latent_pi)), dim=-1)
    chosen = log_probs.gather(-1, th.as_tensor(buffer.actions).long())[..., 0]
    entropy = -(log_probs.exp() * log_probs).sum(dim=-1)
    returns = th.as_tensor(buffer.returns).reshape(values.shape)
    ratio = th.exp(chosen - chosen.detach())
    policy_loss = -(th.as_tensor(advantages) * ratio).mean()
    assert_gradient(model, update, policy_loss - 0.1 * entropy.mean() + 0.7 * ((returns - values) ** 2).mean())


class LastObservations(BaseCallback):
    """The last observations of the newest rollout's episodes, by step and environment."""

    def _on_rollout_start(self) -> None:
        self.seen: dict[tuple[int, int], np.ndarray] = {}

    def _on_step(self) -> bool:
        for env in np.flatnonzero(self.locals["dones"]):
            info = self.locals["infos"][env]
            assert info["TimeLimit.truncated"]
            self.seen[self.locals["n_steps"], int(env)] = info["terminal_observation"]
        return True


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("group_critic", [True, False])
def test_time_limits_are_valued_with_the_memory_of_the_episode(critic: str, group_critic: bool) -> None:
    """
    The state after the last step of the episode, and this environment's; every environment ends its episodes at another time.
    """
    lengths = iter((5, 7, 3))
    env = make_vec_env(lambda: SharedEnv(length=next(lengths), discount_time=2.0), n_envs=3, seed=0)
    network = {**LSTM, **CRITICS[critic]}
    model = make_recurrent(env, group_critic=group_critic, policy_kwargs=network, learning_rate=0.0, batch_size=48)
    for parameter in model.policy.parameters():
        parameter.data *= 2.0  # so that states matter
    callback = LastObservations()
    model.learn(2 * 48, callback=callback)  # the second rollout begins in the middle of episodes
    buffer: Any = model.rollout_buffer
    policy: Any = model.policy
    lstm = policy.lstm_critic if critic == "own LSTM" else policy.lstm_actor

    def value(latent: th.Tensor) -> np.ndarray:
        return policy.value_net(policy.mlp_extractor.forward_critic(latent)).numpy()

    def flat(name: str) -> th.Tensor:
        """A stored state, back from (N * T, layers, hidden) to (T, layers, N, hidden)."""
        return th.as_tensor(getattr(buffer, name)).reshape(3, 16, 1, 8).permute(1, 2, 0, 3)

    hidden, cell = flat("hidden_states_vf"), flat("cell_states_vf")
    observations = th.as_tensor(buffer.observations).reshape(3, 16, 3)
    starts = th.as_tensor(buffer.episode_starts).reshape(3, 16)
    expected = np.zeros_like(buffer.bootstraps)
    with th.no_grad():
        for (step, index), last in callback.seen.items():
            before = hidden[step][:, [index]], cell[step][:, [index]]
            keep = 1.0 - starts[index, step]
            after = lstm(observations[index, step][None, None], (keep * before[0], keep * before[1]))[1]
            last_observation = th.as_tensor(last)[None]
            if critic == "no LSTM":
                latent = policy.critic(last_observation)
            else:
                latent = lstm(last_observation[None], after)[0][0]
                assert not np.allclose(value(latent), value(lstm(last_observation[None], before)[0][0]), atol=1e-4)
            expected[step, index] = buffer.discounts[step, index] * value(latent)[0]
    assert len(callback.seen) >= 9
    np.testing.assert_allclose(buffer.bootstraps, expected, atol=1e-5)


def test_entropy_without_analytical_form() -> None:
    """A squashed distribution has none: RecurrentPPO then uses the log probabilities, which are repeated too."""
    env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=2, seed=0))
    network = dict(**LSTM, squash_output=True)
    model = make_recurrent(env, group_names=("a", "b"), lam=0, policy_kwargs=network, use_sde=True, ent_coef=0.1).learn(32)
    assert model.policy.value_net.out_features == 2 and model.policy.action_dist.entropy() is None


def test_learn_has_a_default() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return False

    model = make_recurrent().learn(callback=Stop())
    assert model._total_timesteps == 100_000


# -- The policy that reads the mask ----------------------------------------------------------------------------------


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("group_names", [None, ("all", "none")])
def test_only_valid_actions(critic: str, group_names: Any, tmp_path: Path) -> None:
    env = make_vec_env(MaskInObservation, n_envs=2, seed=0)
    network = {**LSTM, **CRITICS[critic]}
    model = make_recurrent(env, "MaskedMlpLstmPolicy", group_names=group_names, policy_kwargs=network).learn(128)
    assert type(model.policy) is GroupMaskedRecurrentActorCriticPolicy or group_names is None
    assert model.rollout_buffer.rewards.min() == 1.0  # no invalid action in the whole rollout
    rewards, lengths = evaluate_policy(model, env, 20, return_episode_rewards=True)
    assert rewards == lengths
    observations = np.stack([MaskInObservation().reset(seed=k)[0] for k in range(200)])
    for deterministic in (True, False):
        state: Any = None
        for _ in range(2):
            actions, state = model.predict(observations, state, deterministic=deterministic)
            assert observations[np.arange(200), 3 + actions].min() == 1.0
    model.save(tmp_path / "model")
    loaded = GroupRobustRecurrentPPO.load(tmp_path / "model", env=env, device="cpu")
    expected = model.predict(observations, deterministic=True)[0]
    np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], expected)
    loaded.learn(32)


def test_a_features_extractor_that_may_lose_the_mask_is_refused() -> None:
    class Mine(FlattenExtractor):
        pass

    network = {**LSTM, "features_extractor_class": Mine}
    make_recurrent(make_vec_env(MaskInObservation), "MaskedMlpLstmPolicy", policy_kwargs=network)
    network["features_extractor_class"] = Elsewhere
    with pytest.raises(ValueError, match="features_extractor_class: got Elsewhere, expected FlattenExtractor"):
        make_recurrent(make_vec_env(MaskInObservation), "MaskedMlpLstmPolicy", policy_kwargs=network)


class Elsewhere(BaseFeaturesExtractor):
    """Features whose last entries are no mask."""

    def __init__(self, observation_space: gym.spaces.Box):
        super().__init__(observation_space, observation_space.shape[0])

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return observations.flip(1)


class CountInvalid(BaseCallback):
    def __init__(self) -> None:
        super().__init__()
        self.invalid = 0

    def _on_step(self) -> bool:
        self.invalid += sum(info["invalid_action"] for info in self.locals["infos"])
        return True


def test_hospital_whose_waits_are_hidden() -> None:
    fields = ("head_wait", "mean_wait")
    env = make_vec_env(lambda: HideFields(gym.make("Hospital-Rural-v0"), fields), n_envs=2, seed=0)
    model = make_recurrent(env, "MaskedMlpLstmPolicy", n_steps=64, batch_size=64)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    count = CountInvalid()
    model.learn(640, callback=count)
    assert count.invalid == 0 and model.group_critic
    layout = ObservationLayout(4)
    for field in fields:
        assert not model.rollout_buffer.observations[:, layout.slices[field]].any()
    assert model.rollout_buffer.observations[:, layout.slices["queue_count"]].any()
    pairs = zip(before, model.policy.parameters(), strict=True)
    assert all(bool(th.isfinite(after).all()) and not th.equal(first, after) for first, after in pairs)
