"""Small maskable and recurrent models, for tests of both."""

from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch as th
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from sb3_grpo import GroupRobustMaskablePPO, GroupRobustRecurrentPPO
from tests.toy_envs import DictEnv, SharedEnv

SMALL: dict[str, Any] = dict(n_steps=16, batch_size=16, n_epochs=2, seed=0, device="cpu")
LSTM: dict[str, Any] = dict(net_arch=[8], lstm_hidden_size=8)
CRITICS: dict[str, dict[str, bool]] = {
    "own LSTM": {},
    "shared LSTM": dict(enable_critic_lstm=False, shared_lstm=True),
    "no LSTM": dict(enable_critic_lstm=False),
}


def masked_env(dicts: bool = False, **kwargs: Any) -> ActionMasker:
    """An environment in which every third decision has one valid action only."""
    env = SharedEnv(**kwargs)

    def mask(_: Any) -> np.ndarray:
        return np.array([True, env._step % 3 != 0])

    return ActionMasker(DictEnv(env) if dicts else env, mask)


def masked_envs(n_envs: int = 2, **kwargs: Any) -> VecEnv:
    return make_vec_env(lambda: masked_env(**kwargs), n_envs=n_envs, seed=0)


def make_maskable(env: Any = None, policy: str = "MlpPolicy", **kwargs: Any) -> GroupRobustMaskablePPO:
    env = masked_envs() if env is None else env
    return GroupRobustMaskablePPO(policy, env, **{**SMALL, "policy_kwargs": dict(net_arch=[8]), **kwargs})


def make_recurrent(env: Any = None, policy: str = "MlpLstmPolicy", **kwargs: Any) -> GroupRobustRecurrentPPO:
    env = make_vec_env(SharedEnv, n_envs=2, seed=0) if env is None else env
    return GroupRobustRecurrentPPO(policy, env, **{**SMALL, "policy_kwargs": LSTM, **kwargs})


class Update(NamedTuple):
    """What one update started from."""

    policy: Any
    buffer: Any  # before minibatches were drawn from it
    weights: np.ndarray


def one_update(model: Any) -> Update:
    """Let a model whose rollout is one minibatch, with n_epochs=1, make one update; returns what it started from."""
    before: list[Update] = []
    train = model.train

    def record_and_train() -> None:
        before.append(Update(deepcopy(model.policy), deepcopy(model.rollout_buffer), model.group_weights()))
        train()

    for parameter in model.policy.parameters():
        parameter.data *= 3.0  # away from the uniform distribution, where entropy has no gradient
    model.train = record_and_train
    model.learn(model.batch_size)
    (update,) = before
    return update


def standardised(advantages: np.ndarray) -> np.ndarray:
    return (advantages - advantages.mean()) / advantages.std(ddof=1)


def assert_gradient(model: Any, update: Update, loss: th.Tensor) -> None:
    """The model's step of plain gradient descent with rate 1 is the gradient of the loss, a function of ``update.policy``."""
    loss.backward()
    moved = 0
    for (name, before), after in zip(update.policy.named_parameters(), model.policy.parameters(), strict=True):
        gradient = th.zeros_like(before) if before.grad is None else before.grad
        step = (before - after).detach().numpy()
        np.testing.assert_allclose(step, gradient.numpy(), rtol=1e-4, atol=2e-6, err_msg=name)
        moved += int(gradient.abs().max() > 1e-3)
    assert moved >= 4


ONE_STEP: dict[str, Any] = dict(
    n_epochs=1,
    learning_rate=1.0,
    max_grad_norm=np.inf,
    ent_coef=0.1,
    vf_coef=0.7,
    lam=0.6,
    objective_kwargs=dict(forgetting=1.0),
)
