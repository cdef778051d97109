"""What arguments, environments and infos must not be, and what the error says."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_grpo import GroupAssignment, GroupRobustPPO
from tests.small_models import ID_ONLY, SMALL, make, shared
from tests.toy_envs import GROUP_NAMES, BanditVecEnv, DictEnv, SharedEnv


def spoil(env: VecEnv, index: int, **items: Any) -> VecEnv:
    """One environment's infos get other items."""
    assert isinstance(env, DummyVecEnv)
    env.envs[index].unwrapped.overrides.update(items)  # type: ignore[attr-defined]
    return env


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (dict(group_id=2), r"info\['group_id'\] of environment 1 is 2, but must be an integer from 0 to 1, or -1"),
        (dict(group_id=-2), r"info\['group_id'\] of environment 1 is -2, but must be an integer from 0 to 1"),
        (dict(group_id=0.5), r"info\['group_id'\] of environment 1 is 0.5, but must be an integer"),
        (dict(group_id=None), r"info\['group_id'\] of environment 1 is None, but must be an integer"),
        (dict(group_rewards=np.zeros(3)), r"info\['group_rewards'\] of environment 1 .* must have shape \(2,\)"),
        (dict(group_rewards=0.5), r"info\['group_rewards'\] of environment 1 is 0.5.* must have shape \(2,\)"),
        (dict(group_rewards=[np.nan, 0]), r"info\['group_rewards'\] of environment 1 .* must be finite"),
        (dict(group_rewards=[9, 9]), r"info\['group_rewards'\] of environment 1 is \[9. 9.\] and sums to 18, but must sum to"),
        (dict(group_exposure=[-1, 0]), r"info\['group_exposure'\] of environment 1 is \[-1, 0\], but must be at least 0"),
        (dict(group_exposure=[1]), r"info\['group_exposure'\] of environment 1 is \[1\].* must have shape \(2,\)"),
        (dict(elapsed=-1.0), r"info\['elapsed'\] of environment 1 is -1.0, but must be a finite number, at least 0"),
        (dict(elapsed="noon"), r"info\['elapsed'\] of environment"),
    ],
)
def test_bad_items(items: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(spoil(shared(), 1, **items), discount_time=1.0).learn(32)


@pytest.mark.parametrize("key", ["group_id", "elapsed"])
def test_missing_items(key: str) -> None:
    keys = [other for other in ("group_id", "group_rewards", "group_exposure", "elapsed") if other != key]
    with pytest.raises(ValueError, match=rf"info\['{key}'\] .* is missing in the info of environment 0"):
        make(shared(keys=keys), discount_time=1.0).learn(32)


@pytest.mark.parametrize("key", ["group_id", "group_rewards", "group_exposure"])
def test_item_of_some_environments_only(key: str) -> None:
    whole = ("group_id", "group_rewards", "group_exposure")
    keys = [other for other in whole if other != key]
    env = DummyVecEnv([lambda: SharedEnv(keys=whole), lambda: SharedEnv(keys=keys)])
    with pytest.raises(ValueError, match=rf"info\['{key}'\] .* is missing in the info of environment 1"):
        make(env).learn(32)


@pytest.mark.parametrize("lam", ["lin_0.3", lambda progress: 0.0, 1.0])
def test_ids_are_required_where_lam_can_be_positive(lam: Any) -> None:
    with pytest.raises(ValueError, match=r"info\['group_id'\]"):
        make(shared(keys=()), lam=lam).learn(32)
    with pytest.raises(ValueError, match=r"info\['group_id'\]"):
        make(shared(keys=(), names=None), lam=lam).learn(32)
    make(shared(keys=()), lam=0).learn(32)
    make(shared(keys=(), names=None), lam=0).learn(32)


def test_split_rewards_of_unnamed_groups() -> None:
    with pytest.raises(ValueError, match=r"info\['group_rewards'\] .* nobody names the groups: .*`group_names`"):
        make(shared(names=None)).learn(32)
    with pytest.raises(ValueError, match=r"info\['group_exposure'\] .* must be one number"):
        make(shared(names=None, keys=("group_id", "group_exposure"))).learn(32)
    with pytest.raises(ValueError, match=r"from 0 to 1023.*unless `group_names` are given"):
        make(spoil(shared(names=None, keys=ID_ONLY), 0, group_id=5000)).learn(32)


def test_reward_wrapper_above_the_environment_is_named() -> None:
    env = make_vec_env(lambda: gym.wrappers.TransformReward(SharedEnv(), lambda reward: 2 * float(reward)), n_envs=2)
    with pytest.raises(ValueError, match=r"must sum to the reward, .*by TransformReward: remove it, or apply it below"):
        make(env).learn(32)
    # Groups by id split whatever the reward is
    keys = dict(keys=ID_ONLY)
    make(make_vec_env(lambda: gym.wrappers.ClipReward(SharedEnv(**keys), 0.0, 0.5), n_envs=2)).learn(32)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", "a"])
def test_nan_observations(key: str) -> None:
    class Broken(SharedEnv):
        def _observe(self) -> np.ndarray:
            return np.full(3, np.nan, dtype=np.float32) if self._step == 3 else super()._observe()

    envs = [SharedEnv, Broken]
    vec_env = DummyVecEnv([(lambda env=env: DictEnv(env()) if key else env()) for env in envs])  # type: ignore[misc]
    with pytest.raises(ValueError, match=rf"observation of environment 1 holds NaN{' under key .a.' if key else ''}, but"):
        make(vec_env, "MultiInputPolicy" if key else "MlpPolicy", lam=0).learn(32)


@pytest.mark.parametrize("discount_time", [False, 2.0])
def test_nan_in_the_last_observation_of_an_episode(discount_time: float) -> None:
    class Broken(SharedEnv):
        def _observe(self) -> np.ndarray:
            return np.full(3, np.nan, dtype=np.float32) if self._step == self.length else super()._observe()

    with pytest.raises(ValueError, match="observation of environment 1 holds NaN"):
        make(DummyVecEnv([SharedEnv, Broken]), lam=0, group_critic=False, discount_time=discount_time).learn(32)


def test_rewards_must_be_finite() -> None:
    class Infinite(SharedEnv):
        def step(self, action: int) -> Any:
            observation, _, terminated, truncated, info = super().step(action)
            return observation, float("inf"), terminated, truncated, info

    for keys in (ID_ONLY, ("group_id", "group_rewards")):
        with pytest.raises(ValueError, match="reward of environment 0 is inf, but must be finite"):
            make(make_vec_env(Infinite, env_kwargs=dict(keys=keys))).learn(32)


@pytest.mark.parametrize("lam", [-0.1, 1.1, "0.3x", "lin_2", None, True, [0.1], lambda progress: 2 * progress])
def test_lam_out_of_range(lam: Any) -> None:
    with pytest.raises(ValueError, match="`lam` must be"):
        make(lam=lam)


def test_lam_of_a_schedule_is_checked_when_used() -> None:
    with pytest.raises(ValueError, match=r"`lam` must be in \[0, 1\], got 7.0 at remaining progress 0.6"):
        make(lam=lambda progress: 7.0 if 0.55 < progress < 0.65 else 0.1).learn(320)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(discount_time=0), "`discount_time` must be a positive number"),
        (dict(discount_time=True), "`discount_time` must be a positive number"),
        (dict(discount_time=-3.0), "`discount_time` must be a positive number"),
        (dict(discount_time="off"), "`discount_time` must be a positive number"),
        (dict(discount_time=float("inf")), "`discount_time` must be a positive number"),
        (dict(smoothing=0.0), r"`smoothing` must be in \(0, 1\], got 0.0"),
        (dict(smoothing="much"), r"`smoothing` must be in \(0, 1\], got 'much'"),
        (dict(smoothing=None), r"`smoothing` must be in \(0, 1\], got None"),
        (dict(smoothing=float("nan")), r"`smoothing` must be in \(0, 1\], got nan"),
        (dict(shrinkage=-1.0), "`shrinkage` must be a finite number, at least 0, got -1.0"),
        (dict(shrinkage="20"), "`shrinkage` must be a finite number, at least 0, got '20'"),
        (dict(shrinkage=float("inf")), "`shrinkage` must be a finite number, at least 0, got inf"),
        (dict(objective="median"), "`objective` must be one of"),
        (dict(objective=["minimax"]), r"`objective` must be one of .*, got \['minimax'\]"),
        (dict(objective_kwargs=dict(eta=-1)), "`eta`"),
        (dict(objective_kwargs=5), "`objective_kwargs` 5 do not fit"),
        (dict(group_critic="yes"), "`group_critic` must be True, False or None .*, got 'yes'"),
        (dict(group_critic=1), "`group_critic` must be True, False or None .*, got 1"),
        (dict(group_names=5), "`group_names` must be a sequence of non-empty strings, got 5"),
        (dict(group_names={"left", "right"}), "`group_names` must be a sequence of non-empty strings, got {"),
        (
            dict(group_names=("a", "b")),
            r"`group_names` of the environment are \('left', 'right'\), but must be .*\('a', 'b'\)",
        ),
        (dict(group_names=("a", "a")), "none twice"),
        (dict(group_names=()), "at least one name"),
        (dict(group_names="ab"), "sequence of non-empty strings"),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


def test_without_environment() -> None:
    """SB3 allows it for models that are to be loaded."""
    with pytest.raises(ValueError, match=r"`env` must be an environment, a VecEnv or the id .*, got None"):
        GroupRobustPPO("MlpPolicy", None, **SMALL)  # type: ignore[arg-type]
    GroupRobustPPO("MlpPolicy", None, _init_setup_model=False, **SMALL)  # type: ignore[arg-type]


def test_loaded_without_environment(tmp_path: Path) -> None:
    make().save(tmp_path / "model")
    loaded = GroupRobustPPO.load(tmp_path / "model", device="cpu")
    assert loaded.predict(np.zeros(3, dtype=np.float32), deterministic=True)[0] in (0, 1)


@pytest.mark.parametrize("names", [5, "ab", ("left", "left")])
def test_names_of_the_environment_are_checked(names: Any) -> None:
    class Named(SharedEnv):
        group_names = names

    with pytest.raises(ValueError, match="`group_names` must"):
        make(make_vec_env(lambda: Named(names=None)), group_names=("left", "right"))


def test_group_critic_needs_groups() -> None:
    with pytest.raises(ValueError, match="`group_critic=True` needs to know the groups"):
        make(shared(names=None), group_critic=True)


def test_scale_of_the_environment_must_be_positive() -> None:
    with pytest.raises(ValueError, match="`performance_scale` of the environment must be a positive number, got 0"):
        make(shared(performance_scale=0))


def test_environments_must_agree() -> None:
    env = DummyVecEnv([lambda: SharedEnv(), lambda: SharedEnv(names=("x", "y"))])
    with pytest.raises(ValueError, match="Environments differ in `group_names`"):
        make(env)


def test_no_infos_are_skipped() -> None:
    class NoInfos(BanditVecEnv):
        def step_wait(self) -> Any:
            return (*super().step_wait()[:3], [])

    class NoTimeouts(NoInfos):
        """SB3's own loop over finished episodes reads the infos."""

        def step_wait(self) -> Any:
            observation, rewards, dones, infos = super().step_wait()
            return observation, rewards, np.zeros_like(dones), infos

    for names in (None, ("a", "b")):
        env = NoTimeouts(np.ones((2, 2)), np.array([0.5, 0.5]), 2, 0, names=names)
        make(env, lam=0.5).learn(32)
        with pytest.raises(ValueError, match=r"infos of a step are empty, but because of `discount_time`.*info\['elapsed'\]"):
            make(env, lam=0.5, discount_time=2.0).learn(32)


@pytest.mark.parametrize("names", [GROUP_NAMES, None])
def test_no_exposure_is_said(names: Any) -> None:
    """A time limit around GroupAssignment ends episodes that the wrapper takes for unfinished."""

    def environment() -> gym.Env:
        inner = GroupAssignment(SharedEnv(length=100, keys=()), lambda *_: 1, group_names=names)
        return gym.wrappers.TimeLimit(inner, 5)

    with pytest.warns(UserWarning, match="no group was exposed .* put TimeLimit inside"):
        make(make_vec_env(environment, n_envs=2), lam=0.3).learn(32)
    make(make_vec_env(environment, n_envs=2), lam=0.0).learn(32)


def test_steps_of_no_group_are_said() -> None:
    env = spoil(spoil(shared(keys=(), names=None), 0, group_id=-1), 1, group_id=-1)
    with pytest.warns(UserWarning, match="no group was exposed"):
        make(env, lam=0.3).learn(32)
