"""The update without a graph is SB3's: same gradients, same terms of the loss, same early stop, same actions."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.distributions import Distribution
from torch.utils._python_dispatch import TorchDispatchMode

from sb3_grpo import GroupRobustMaskablePPO, GroupRobustPPO, GroupRobustRecurrentPPO
from sb3_grpo.common.lean_networks import lean_policy
from tests.contrib_models import make_maskable, make_recurrent
from tests.small_models import ID_ONLY, make, shared
from tests.toy_envs import BanditVecEnv, DictEnv, SharedEnv


class MaskedObservations(gym.ObservationWrapper):
    """Two entries behind the observation say which actions are valid: both, or every third step only the second."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        low, high = np.array([-1, -1, -1, 0, 0]), np.array([1, 1, 1, 1, 1])
        self.observation_space = gym.spaces.Box(low.astype(np.float32), high.astype(np.float32))

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.append(observation, [self.unwrapped._step % 3 != 0, 1]).astype(np.float32)  # type: ignore[attr-defined]


def masked_by_observation() -> Any:
    return make_vec_env(lambda: MaskedObservations(SharedEnv()), n_envs=2, seed=0)


OPTIONS: dict[str, Any] = dict(clip_range_vf=0.05, ent_coef=0.1, vf_coef=0.7)
NETWORK: dict[str, Any] = dict(net_arch=dict(pi=[8, 6], vf=[5]))
CASES: dict[str, Callable[..., Any]] = {
    "group critic": lambda **kwargs: make(**kwargs),
    "every option": lambda **kwargs: make(**{**OPTIONS, **kwargs}),
    "ReLU": lambda **kwargs: make(**deep({"activation_fn": th.nn.ReLU}, kwargs)),
    "linear": lambda **kwargs: make(**deep({"net_arch": []}, kwargs)),
    "weights of samples": lambda **kwargs: make(shared(keys=ID_ONLY), group_critic=False, **{**OPTIONS, **kwargs}),
    "no standardisation": lambda **kwargs: make(normalize_advantage=False, **kwargs),
    "odd last minibatch": lambda **kwargs: make(**{**kwargs, "batch_size": 31}),
    "mask in the observation": lambda **kwargs: make(masked_by_observation(), "MaskedMlpPolicy", **{**OPTIONS, **kwargs}),
    "maskable": lambda **kwargs: make_maskable(**{**OPTIONS, **kwargs}),
}


def deep(more: dict[str, Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**kwargs, "policy_kwargs": {**kwargs.get("policy_kwargs", {}), **more}}


def collect(model: Any) -> Any:
    """One complete rollout, by another policy than the initial one, whose actions are nearly uniform."""
    with th.no_grad():
        for parameter in model.policy.parameters():
            parameter *= 3.0
    _, callback = model._setup_learn(10_000)
    assert model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    with th.no_grad():  # the policy that is updated has moved on, so that some ratios are clipped
        for parameter in model.policy.parameters():
            parameter += 0.1 * th.randn_like(parameter)
    return model


def twins(case: str, **kwargs: Any) -> tuple[Any, Any]:
    """The same policy with the same rollout, to be updated by SB3 and without a graph."""
    slow = collect(CASES[case](lam=0.6, fast=False, **kwargs))
    fast = CASES[case](lam=0.6, **kwargs)
    fast._setup_learn(10_000)
    fast.policy.load_state_dict(slow.policy.state_dict())
    fast.rollout_buffer, fast.group_state = deepcopy(slow.rollout_buffer), slow.group_state
    assert fast._lean_policy() is not None and slow._lean_policy() is None
    return slow, fast


def updated(model: Any) -> Any:
    np.random.seed(1)
    model.train()
    return model


def assert_close(first: Any, second: Any, tolerance: float) -> None:
    for (name, expected), got in zip(first.policy.named_parameters(), second.policy.parameters(), strict=True):
        np.testing.assert_allclose(got.detach(), expected.detach(), rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size of 31")
@pytest.mark.parametrize("case", CASES)
def test_gradient_is_that_of_sb3(case: str) -> None:
    """Plain gradient descent with rate 1 moves parameters by the gradient of the only minibatch."""
    policy_kwargs = {**NETWORK, "optimizer_class": th.optim.SGD}
    settings: dict[str, Any] = dict(n_epochs=1, batch_size=32, learning_rate=1.0, max_grad_norm=np.inf)
    slow, fast = twins(case, policy_kwargs=policy_kwargs, **settings)
    before = deepcopy(slow.policy)
    updated(slow), updated(fast)
    moved = [(old - new).abs().max() for old, new in zip(before.parameters(), slow.policy.parameters(), strict=True)]
    assert min(moved) > 1e-4
    assert_close(slow, fast, 1e-6)


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size of 31")
@pytest.mark.parametrize("case", CASES)
def test_update_and_log_are_those_of_sb3(case: str) -> None:
    """Twelve minibatches of Adam with clipping."""
    slow, fast = twins(case, policy_kwargs=NETWORK, n_epochs=3, batch_size=8, max_grad_norm=0.1)
    updated(slow), updated(fast)
    assert_close(slow, fast, 1e-5)
    expected, got = (
        {key: value for key, value in model.logger.name_to_value.items() if key.startswith("train/")} for model in (slow, fast)
    )
    assert set(got) == set(expected)
    for key, value in expected.items():
        assert got[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key


@pytest.mark.parametrize("case", ["group critic", "maskable"])
def test_early_stop_is_that_of_sb3(case: str) -> None:
    settings: dict[str, Any] = dict(policy_kwargs=NETWORK, n_epochs=8, batch_size=8, learning_rate=0.01)
    slow, fast = twins(case, target_kl=0.001, **settings)
    updated(slow), updated(fast)
    assert 0 < slow._n_updates < 8
    assert fast._n_updates == slow._n_updates
    assert_close(slow, fast, 1e-4)
    for key in ("train/approx_kl", "train/loss"):
        assert fast.logger.name_to_value[key] == pytest.approx(slow.logger.name_to_value[key], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("below", [1.25, 1.75])
def test_threshold_of_the_early_stop_is_that_of_sb3(below: float) -> None:
    """The second of two minibatches is left out from 1.5 times the target on."""
    settings: dict[str, Any] = dict(policy_kwargs=NETWORK, n_epochs=2, batch_size=32, learning_rate=0.01)
    divergence = updated(twins("group critic", **settings)[0]).logger.name_to_value["train/approx_kl"]
    slow, fast = twins("group critic", target_kl=float(divergence) / below, **settings)
    updated(slow), updated(fast)
    assert_close(slow, fast, 1e-5)


@pytest.mark.parametrize("case", ["group critic", "ReLU", "linear", "mask in the observation", "maskable"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_actions_are_those_of_sb3(case: str, deterministic: bool) -> None:
    model = CASES[case](lam=0.6, policy_kwargs=NETWORK)
    lean = lean_policy(model.policy)
    assert lean is not None
    generator = np.random.default_rng(0)
    observations = generator.uniform(-1, 1, (50, *model.observation_space.shape)).astype(np.float32)
    observations[:, 3:-1], observations[:, 4:] = generator.integers(2, size=observations[:, 3:-1].shape), 1
    kwargs: dict[str, Any] = {}
    if isinstance(model, MaskablePPO):
        kwargs["action_masks"] = np.stack([generator.integers(2, size=50), np.ones(50)], axis=1).astype(bool)
    answers = []
    for act in (model.policy, lean.act):
        th.manual_seed(0)
        with th.no_grad():
            answers.append(act(th.as_tensor(observations), deterministic, **kwargs))
    assert th.equal(answers[0][0], answers[1][0])
    for expected, got in zip(answers[0][1:], answers[1][1:], strict=True):
        th.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


class OwnEvaluation(ActorCriticPolicy):
    def evaluate_actions(self, *args: Any) -> Any:
        return super().evaluate_actions(*args)


def with_hook(model: Any) -> Any:
    model.policy.value_net.register_forward_hook(lambda *_: None)
    return model


def with_frozen_layer(model: Any) -> Any:
    model.policy.action_net.bias.requires_grad_(False)
    return model


UNKNOWN: dict[str, Callable[[], Any]] = {
    "Dict observations": lambda: make(make_vec_env(lambda: DictEnv(SharedEnv()), n_envs=2), "MultiInputPolicy"),
    "continuous actions": lambda: make(make_vec_env("Pendulum-v1"), group_names=("all",), group_critic=True),
    "own evaluation": lambda: make(policy=OwnEvaluation),  # type: ignore[arg-type]
    "other activation": lambda: make(policy_kwargs=dict(activation_fn=th.nn.ELU)),
    "hook": lambda: with_hook(make()),
    "frozen layer": lambda: with_frozen_layer(make()),
    "recurrent": make_recurrent,
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_not_known_is_left_to_sb3(case: str) -> None:
    model = UNKNOWN[case]()
    assert lean_policy(model.policy) is None
    assert model._lean_policy() is None


def test_another_algorithm_keeps_its_own_update() -> None:
    calls = []

    class OtherPPO(PPO):
        def train(self) -> None:
            calls.append(1)
            super().train()

    class OtherGroupRobustPPO(GroupRobustPPO, OtherPPO):
        pass

    model = OtherGroupRobustPPO("MlpPolicy", shared(), n_steps=16, batch_size=16, n_epochs=1, device="cpu")
    assert model._lean_policy() is None
    model.learn(32)
    assert calls == [1]


def test_another_buffer_keeps_its_own_minibatches() -> None:
    class OwnBuffer(RolloutBuffer):
        pass

    model = make(rollout_buffer_class=OwnBuffer)
    assert model._lean_policy() is None
    model.learn(32)


def test_recurrent_update_is_that_of_sb3() -> None:
    slow, fast = (make_recurrent(lam=0.6, fast=fast).learn(96) for fast in (False, True))
    assert_close(slow, fast, 1e-5)


@pytest.mark.parametrize("algorithm", [GroupRobustPPO, GroupRobustMaskablePPO, GroupRobustRecurrentPPO])
def test_fast_must_be_true_or_false(algorithm: Any) -> None:
    policy = "MlpLstmPolicy" if algorithm is GroupRobustRecurrentPPO else "MlpPolicy"
    with pytest.raises(ValueError, match="`fast` must be True or False, got 1"):
        algorithm(policy, shared(), fast=1)


class Seen(BaseCallback):
    def __init__(self, error: bool = False) -> None:
        super().__init__()
        self.error = error
        self.checks: set[bool] = set()

    def _on_step(self) -> bool:
        self.checks.add(Distribution._validate_args)
        if self.error:
            raise KeyError("callback")
        return True


@pytest.mark.parametrize("lam", [0, 0.5])
def test_distributions_are_checked_again_afterwards(lam: float) -> None:
    assert Distribution._validate_args
    seen, kept, failing = Seen(), Seen(), Seen(error=True)
    make(lam=lam).learn(32, callback=seen)
    make(lam=lam, fast=False).learn(32, callback=kept)
    assert (seen.checks, kept.checks) == ({False}, {True})
    with pytest.raises(KeyError):
        make(lam=lam).learn(32, callback=failing)
    assert Distribution._validate_args


@pytest.mark.parametrize("lam", [0, 0.5])
def test_parameters_that_are_not_finite_are_an_error(lam: float) -> None:
    with pytest.raises(ValueError, match=r"parameter '.*' is not finite: lower `learning_rate`"):
        make(lam=lam, learning_rate=1e30).learn(32)


def test_saved_files_do_not_tell_fast_from_slow(tmp_path: Any) -> None:
    slow, fast = (make(lam=0.5, group_critic=False, fast=fast).learn(64) for fast in (False, True))
    first, second = (model.policy.optimizer.state_dict() for model in (slow, fast))
    assert first["param_groups"] == second["param_groups"]
    assert {key: set(state) for key, state in first["state"].items()} == {
        key: set(state) for key, state in second["state"].items()
    }
    fast.save(tmp_path / "model")
    plain = PPO.load(tmp_path / "model", shared(), device="cpu").learn(32)
    again = GroupRobustPPO.load(tmp_path / "model", shared(), device="cpu", fast=False).learn(32)
    assert not again.fast and plain.num_timesteps == again.num_timesteps


class CountReads(TorchDispatchMode):
    """How often a number is read back from a tensor, which on a GPU waits for everything before it."""

    def __init__(self) -> None:
        super().__init__()
        self.n_reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n_reads += func is th.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_minibatches_read_nothing_back() -> None:
    reads = []
    for n_epochs in (1, 6):
        model = collect(make(lam=0.6, n_epochs=n_epochs, batch_size=4, policy_kwargs=dict(optimizer_class=th.optim.SGD)))
        with CountReads() as count:
            model.train()
        reads.append(count.n_reads)
    assert reads[0] == reads[1]


def test_learns_as_well_as_without() -> None:
    """
    A bandit in which the worst group's action pays less on average. The same random numbers draw the same actions until
    rounding has grown enough to change one, which then moves the probability by about 0.01.
    """

    def probability(fast: bool, seed: int) -> float:
        env = BanditVecEnv(np.array([[1.0, 0.3], [0.0, 0.4]]), np.array([0.7, 0.3]), 16, seed, names=("many", "few"))
        kwargs: dict[str, Any] = dict(
            n_steps=32, batch_size=128, n_epochs=4, learning_rate=0.01, policy_kwargs={"net_arch": [8]}
        )
        model = GroupRobustPPO("MlpPolicy", env, lam=1.0, fast=fast, seed=seed, device="cpu", **kwargs).learn(4_000)
        with th.no_grad():
            return float(model.policy.get_distribution(th.ones(1, 1)).distribution.probs[0, 1])  # type: ignore[union-attr]

    slow, fast = (np.array([probability(fast, seed) for seed in range(5)]) for fast in (False, True))
    assert slow.mean() > 0.9
    assert abs(fast.mean() - slow.mean()) < 0.03
