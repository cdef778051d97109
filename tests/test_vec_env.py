"""SB3's VecEnv over a Gymnasium VectorEnv: the same steps, infos and trainings as SB3's own over single environments."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import DQN, PPO
from stable_baselines3.common import env_util
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecMonitor, VecNormalize

from hospital_gym.scenarios import RURAL
from sb3_grpo import GroupRobustMaskablePPO, GroupRobustPPO, from_vector_env, make_vec_env
from sb3_grpo.cli.jobs import TrainJob
from sb3_grpo.cli.options import Hospital
from sb3_grpo.common.group_infos import read_group_infos
from sb3_grpo.common.hyperparameters import load_settings
from sb3_grpo.common.info_columns import InfoColumns
from sb3_grpo.common.vec_env import GymnasiumVecEnv
from tests.test_hospital_vector_env import assert_same_infos, some_actions

SHORT = replace(RURAL, name="Short", horizon_hours=80.0, counted_from=24.0, counted_tail=24.0)


def hospitals(n_envs: int = 3, **kwargs: Any) -> GymnasiumVecEnv:
    venv = make_vec_env("Hospital-v0", n_envs=n_envs, seed=5, env_kwargs={"scenario": SHORT}, **kwargs)
    assert isinstance(venv, GymnasiumVecEnv)
    return venv


def dummies(n_envs: int = 3) -> VecEnv:
    return env_util.make_vec_env("Hospital-v0", n_envs=n_envs, seed=5, env_kwargs={"scenario": SHORT})


def without_time(infos: Any) -> list[dict[str, Any]]:
    """Infos without the seconds an episode took."""
    infos = copy.deepcopy(infos)
    for info in infos:
        info.get("episode", {}).pop("t", None)
    return infos


def assert_same_steps(first: VecEnv, second: VecEnv, n_steps: int, choose: Callable[[int], np.ndarray]) -> int:
    """Returns the number of episodes that ended."""
    assert first.observation_space == second.observation_space and first.action_space == second.action_space
    assert_same_infos(first.reset(), second.reset())
    n_ended = 0
    for step in range(n_steps):
        actions = choose(step)
        expected, got = first.step(actions), second.step(actions)
        for k in range(3):
            assert_same_infos(expected[k], got[k])
        assert isinstance(got[3], list) and len(got[3]) == first.num_envs
        for one, other in zip(without_time(expected[3]), without_time(got[3]), strict=True):
            assert_same_infos(one, other)
        for one, other in zip(first.reset_infos, second.reset_infos, strict=True):
            assert_same_infos(one, other)
        n_ended += int(expected[2].sum())
    return n_ended


def test_hospitals_step_as_in_dummy_vec_env() -> None:
    """Observations, rewards, dones, complete infos and reset infos, to the last bit and type."""
    first, second, rng = dummies(), hospitals(), np.random.default_rng(0)
    assert assert_same_steps(first, second, 250, lambda _: some_actions(rng, get_action_masks(second))) >= 5
    assert first.seed(9) == second.seed(9)
    for venv in (first, second):
        venv.set_options([{"episode": 3}, {}, {"episode": 1}])
    assert_same_infos(first.reset(), second.reset())
    assert first.reset_infos[0]["episode"] == second.reset_infos[0]["episode"] == 3
    first.set_options({"episode": 2})
    second.set_options({"episode": 2})
    assert_same_infos(first.reset(), second.reset())


def cartpoles(mode: AutoresetMode) -> VecEnv:
    venv = from_vector_env(SyncVectorEnv([lambda: gym.make("CartPole-v1", max_episode_steps=30)] * 4, autoreset_mode=mode))
    venv.seed(3)
    return venv


@pytest.mark.parametrize("mode", AutoresetMode)
def test_cartpole_steps_as_in_dummy_vec_env(mode: AutoresetMode) -> None:
    """Whatever the VectorEnv does at the end of an episode, SB3 sees what it expects; some episodes end by time limit."""
    first = DummyVecEnv([lambda: Monitor(gym.make("CartPole-v1", max_episode_steps=30))] * 4)
    first.seed(3)
    rng = np.random.default_rng(0)
    assert assert_same_steps(first, cartpoles(mode), 300, lambda _: rng.integers(0, 2, 4)) > 20


class DictAndTuple(gym.Env):
    """Observations of two kinds, in a Dict, and NaN in one of them."""

    observation_space = gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (2,)), "b": gym.spaces.Discrete(7)})
    action_space = gym.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 6))
        return self._observe(), {"begun": True}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return self._observe(), float(action[0]), self.left == 0, False, {"left": self.left, "some": {"x": float(self.left)}}

    def _observe(self) -> dict[str, Any]:
        noise = np.array([np.nan, self.np_random.random()], dtype=np.float32)
        return {"a": noise, "b": np.int64(self.left)}


@pytest.mark.parametrize("mode", AutoresetMode)
def test_dict_observations(mode: AutoresetMode) -> None:
    first = DummyVecEnv([lambda: Monitor(DictAndTuple())] * 3)
    second = from_vector_env(SyncVectorEnv([DictAndTuple] * 3, autoreset_mode=mode))
    for venv in (first, second):
        venv.seed(0)
    assert_same_steps(first, second, 40, lambda step: np.full((3, 1), 0.1 * (step % 7), dtype=np.float32))


def test_environments_in_other_processes() -> None:
    venv = from_vector_env(AsyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2, autoreset_mode=AutoresetMode.SAME_STEP))
    venv.seed(3)
    first = DummyVecEnv([lambda: Monitor(gym.make("CartPole-v1"))] * 2)
    first.seed(3)
    assert_same_steps(first, venv, 40, lambda step: np.full(2, step % 3 == 0, dtype=np.int64))
    assert venv.get_attr("spec", indices=1)[0].id == "CartPole-v1" and not venv.has_attr("group_names")
    with pytest.raises(AttributeError, match="no attribute 'group_names'"):
        venv.get_attr("group_names")
    with pytest.raises(NotImplementedError, match="no single environments whose 'render' could be called"):
        venv.env_method("render", indices=[1])
    venv.close()


def test_vector_environments_that_cannot_be_used_are_refused() -> None:
    unclear = gym.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    unclear.metadata = {}
    with pytest.raises(ValueError, match=r"expected a gymnasium\.vector\.AutoresetMode"):
        from_vector_env(unclear)
    # Its reset() knows no mask: it would end the episodes of all
    venv = from_vector_env(gym.make_vec("CartPole-v1", 3, vectorization_mode="vector_entry_point"))
    venv.seed(0)
    venv.reset()
    with pytest.raises(RuntimeError, match="cannot reset some of its environments"):
        for step in range(200):
            venv.step(np.array([0, 1, step % 2]))
    venv.set_options([{"low": -0.01, "high": 0.01}, {}, {}])
    with pytest.raises(ValueError, match="expected the same for every environment"):
        venv.reset()


TRAININGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "group-robust": (GroupRobustPPO, dict(policy="MaskedMlpPolicy", lam=0.3)),
    "group-robust, ids alone": (GroupRobustPPO, dict(policy="MlpPolicy", lam=0.3, group_critic=False, discount_time=False)),
    "group-robust, maskable": (GroupRobustMaskablePPO, dict(policy="MlpPolicy", lam=0.3)),
    "PPO": (PPO, dict(policy="MlpPolicy")),
    "MaskablePPO": (MaskablePPO, dict(policy="MlpPolicy")),
}


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("case", TRAININGS)
def test_training_is_the_same_to_the_last_bit(case: str, normalised: bool) -> None:
    algorithm, settings = TRAININGS[case]
    trained = []
    for make in (dummies, hospitals):
        venv: VecEnv = make(4)
        if normalised:
            venv = VecNormalize(venv, norm_obs="Masked" not in settings["policy"], gamma=0.99)
        settings = {"n_steps": 64, "batch_size": 64, "n_epochs": 2, "seed": 1, "device": "cpu", **settings}
        trained.append(algorithm(env=venv, policy_kwargs=dict(net_arch=[16]), **settings).learn(512))
    first, second = trained
    assert len(first.ep_info_buffer) >= 4
    for one, other in zip(first.ep_info_buffer, second.ep_info_buffer, strict=True):
        assert (one["r"], one["l"]) == (other["r"], other["l"])
    for one, other in zip(first.policy.parameters(), second.policy.parameters(), strict=True):
        assert th.equal(one, other)


def test_group_arrays_come_without_looking_at_infos(monkeypatch: pytest.MonkeyPatch) -> None:
    """In training no dict is made of the info of a running episode."""
    made: list[int] = []
    real = InfoColumns.__getitem__

    def noted(self: InfoColumns, index: int) -> Any:
        made.append(index in self._finished)
        return real(self, index)

    monkeypatch.setattr(InfoColumns, "__getitem__", noted)
    GroupRobustPPO("MaskedMlpPolicy", hospitals(), lam=0.3, n_steps=128, batch_size=128, n_epochs=1, device="cpu").learn(384)
    assert made and all(made)


def columns_after(n_steps: int) -> tuple[InfoColumns, np.ndarray]:
    venv, rng = hospitals(), np.random.default_rng(0)
    venv.reset()
    for _ in range(n_steps):
        _, _, dones, infos = venv.step(some_actions(rng, get_action_masks(venv)))
        if dones.any():
            break
    assert isinstance(infos, InfoColumns)
    return infos, dones


def test_columns_equal_the_dicts() -> None:
    infos, dones = columns_after(200)
    assert 0 < dones.sum() < 3
    step = read_group_infos(infos, 4, True, True)
    for one, other in zip(step, read_group_infos(list(copy.deepcopy(infos)), 4, True, True), strict=True):
        assert one is not None and other is not None and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    assert infos.column("nobody has it") is None
    # Somebody changed the dict of a running episode: what the algorithm reads is what everybody else sees
    infos[int(np.argmin(dones))]["group_id"] = 2.5
    assert infos.column("group_id") is None
    with pytest.raises(ValueError, match=r"info\['group_id'\] of environment \d is 2.5"):
        read_group_infos(infos, 4, True, True)
    infos, dones = columns_after(200)
    infos.finished()[0]["group_id"] = 2.5
    with pytest.raises(ValueError, match=r"info\['group_id'\] of environment \d is 2.5"):
        read_group_infos(infos, 4, True, True)
    del infos.finished()[0]["group_id"]
    with pytest.raises(ValueError, match=r"info\['group_id'\] .* is missing in the info of environment"):
        read_group_infos(infos, 4, True, True)


def test_infos_are_a_list_of_dicts() -> None:
    infos, dones = columns_after(200)
    plain = list(infos)
    assert isinstance(infos, list) and [type(info) for info in infos] == [dict] * 3
    assert type(copy.deepcopy(infos)) is list and type(pickle.loads(pickle.dumps(infos))) is list
    for other in (infos[:], infos.copy(), copy.copy(infos), infos + plain[:0], [*infos], sorted(infos, key=id, reverse=True)):
        assert type(other) is list and len(other) == 3
    assert [info is other for info, other in zip(infos, plain, strict=True)] == [True] * 3
    assert infos[-1] is plain[2] and infos[0] in infos and infos.index(infos[1]) == 1 and infos.count(infos[1]) == 1
    assert next(reversed(infos)) is plain[2] and np.array(infos)[0] is plain[0]
    assert "'group_rewards'" in repr(infos)
    ended = int(np.argmax(dones))
    assert infos[ended]["episode"]["l"] > 0 and infos[ended]["terminal_observation"].shape == (120,)
    assert infos[ended]["TimeLimit.truncated"] is True and infos[int(np.argmin(dones))]["TimeLimit.truncated"] is False
    replacement = {"a": 1}
    infos[0] = replacement
    assert infos[0] is replacement and next(iter(infos)) is replacement
    with pytest.raises(IndexError):
        infos[3]
    for change in (lambda: infos.append({}), lambda: infos.pop(), lambda: infos.__setitem__(slice(0, 1), [{}])):
        with pytest.raises(TypeError, match=r"use list\(infos\)"):
            change()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda venv: VecNormalize(venv),
        lambda venv: VecFrameStack(venv, 2),
        lambda venv: VecFrameStack(VecNormalize(venv), 3),
        lambda venv: VecMonitor(venv),
    ],
)
@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
def test_wrappers_see_the_same(wrap: Callable[[VecEnv], VecEnv]) -> None:
    first, second, rng = wrap(dummies()), wrap(hospitals()), np.random.default_rng(0)
    assert assert_same_steps(first, second, 120, lambda _: some_actions(rng, get_action_masks(second))) >= 3


def test_single_environments_are_within_reach() -> None:
    venv, dummy = hospitals(), dummies()
    for each in (venv, dummy):
        each.reset()
    assert venv.get_attr("group_names") == dummy.get_attr("group_names")
    assert is_masking_supported(venv) and not venv.has_attr("nothing") and venv.has_attr("render_mode")
    assert np.array_equal(get_action_masks(venv), get_action_masks(dummy)) and get_action_masks(venv).shape == (3, 32)
    assert np.array_equal(venv.env_method("action_masks", indices=2)[0], dummy.env_method("action_masks", indices=2)[0])
    snapshot = venv.env_method("snapshot", indices=[0])[0]
    assert snapshot.seed == 5 and len(venv.env_method("snapshot")) == 3
    venv.set_attr("note", 3, indices=1)
    assert venv.get_attr("note", indices=[1]) == [3] and not venv.has_attr("note")
    assert venv.env_is_wrapped(Monitor) == [True] * 3 and venv.env_is_wrapped(gym.wrappers.TimeLimit, indices=0) == [False]
    spec = venv.get_attr("spec")[0]
    again = gym.make(spec)
    assert again.unwrapped.scenario == SHORT and again.unwrapped.render_mode == "rgb_array"  # type: ignore[attr-defined]
    assert venv.render_mode == "rgb_array" and venv.metadata["render_fps"] == 4


def test_pictures_and_evaluation() -> None:
    venv, dummy = make_vec_env("Hospital-Rural-v0", n_envs=2, seed=0), hospitals(2)
    venv.reset()
    picture = venv.render()
    assert picture is not None and picture.shape == (1200, 1200, 3)
    model = PPO("MlpPolicy", dummy, n_steps=32, device="cpu")
    means = [evaluate_policy(model, env, n_eval_episodes=3, return_episode_rewards=True) for env in (hospitals(2), dummies(2))]
    assert means[0] == means[1]


def test_what_needs_single_environments_is_sb3s(tmp_path: Path) -> None:
    for venv in (
        make_vec_env("CartPole-v1", n_envs=2, seed=0),  # its vector environment begins episodes one step late
        make_vec_env("Pendulum-v1"),
        make_vec_env(lambda: gym.make("Hospital-Rural-v0"), n_envs=2),
        make_vec_env("Hospital-Rural-v0", monitor_dir=str(tmp_path / "monitor")),
        make_vec_env("Hospital-Rural-v0", wrapper_class=gym.wrappers.FlattenObservation),
        make_vec_env("Hospital-Rural-v0", env_kwargs={"max_episode_steps": 3}),
    ):
        assert type(venv) is DummyVecEnv
        venv.close()
    fast = make_vec_env("hospital_gym:Hospital-Rural-v0", n_envs=2, vec_env_kwargs={"num_threads": 2})
    assert isinstance(fast, GymnasiumVecEnv)
    fast.close()
    with pytest.raises(gym.error.Error):
        make_vec_env("Hospital-Nowhere-v0")


def test_off_policy_algorithms() -> None:
    model = DQN("MlpPolicy", hospitals(2), learning_starts=50, buffer_size=500, device="cpu", policy_kwargs=dict(net_arch=[8]))
    model.learn(200)
    assert model.replay_buffer is not None and model.replay_buffer.timeouts[:100].sum() == model._episode_num > 0


def test_the_demo_trains_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital = Hospital("Rural", "Hospital-Rural-v0", RURAL, None, None)
    settings = load_settings("group_robust_ppo", "Hospital-Rural-v0", GroupRobustPPO)
    changes = {"n_epochs": 1, "policy_kwargs": {"net_arch": [8]}}
    models = []
    for name in ("vector", "single"):
        path = tmp_path / f"{name}.zip"
        TrainJob(hospital, settings, changes, 2 * settings.n_envs * settings.algorithm["n_steps"], 0, path).run(
            report=lambda done: None, stopped=lambda: False
        )
        models.append(GroupRobustPPO.load(path))
        monkeypatch.setattr("sb3_grpo.training.make_vec_env", env_util.make_vec_env)
    for one, other in zip(models[0].policy.parameters(), models[1].policy.parameters(), strict=True):
        assert th.equal(one, other)
    weights = [model.group_weights() for model in models]
    assert weights[0] is not None and weights[1] is not None and np.array_equal(weights[0], weights[1])
