"""Policies of every kind are evaluated on the same numbered episodes, in whatever the environment comes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from sb3_grpo import GroupAssignment, GroupRobustPPO, evaluate_fairness
from sb3_grpo.common.evaluation import derived_seed, evaluate_episodes
from sb3_grpo.fairness.evaluate import evaluate_policies, rate_intervals, widest_interval
from sb3_grpo.fairness.evaluation_data import Evaluation, EvaluationSet
from sb3_grpo.fairness.players import statistics_path
from sb3_grpo.fairness.venue import episode_seed
from tests.evaluation_envs import CoinEnv, PatientEnv
from tests.small_models import SMALL

SEED = 2**32 + 5
NAMES = ("low", "high")


def half(observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
    return int(observation[0] > 0.5)


def make_coin(masked: bool = False) -> gym.Env:
    return GroupAssignment(CoinEnv(masked), half, group_names=NAMES)


def values(n: int) -> np.ndarray:
    """What the episodes of :class:`CoinEnv` are worth."""
    return np.array([np.random.Generator(np.random.PCG64(episode_seed(SEED, k))).random() for k in range(n)])


def ones(observation: Any) -> np.ndarray:
    return np.ones(len(observation), dtype=np.int64)


def play(policy: Any, env: Any = make_coin, n: int = 5, **kwargs: Any) -> EvaluationSet:
    return evaluate_policies(policy, env, n, 0, SEED, **kwargs)


def only(result: EvaluationSet) -> Evaluation:
    (evaluation,) = result.evaluations
    return evaluation


def test_rewards_and_exposure_of_each_group_by_hand() -> None:
    result = play({"ones": ones, "zeros": lambda observation: np.zeros(len(observation), dtype=np.int64)}, n=12)
    worth = values(12)
    member = np.eye(2)[(worth > 0.5).astype(int)]
    np.testing.assert_array_equal(result["ones"].totals.demand, member)
    np.testing.assert_allclose(result["ones"].totals.benefit, member * 3 * worth[:, None], rtol=1e-6)
    np.testing.assert_array_equal(result["ones"].totals.counted, member)
    np.testing.assert_allclose(result["ones"].returns, 3 * worth)
    assert not result["zeros"].totals.benefit.any()
    assert result.reference == "ones" and result.measure == "reward per exposure" and not result.has_records
    assert (result.n_episodes, result.group_names, result.names) == (12, NAMES, ("ones", "zeros"))
    assert only(play(ones)).algorithm == "ones" and play(ones).reference is None


def test_rewards_that_concern_no_group_are_shared_as_exposure_is() -> None:
    """The first step of each episode is nobody's: its reward adds the same to every rate. The other two expose their group."""

    def later(observation: Any, action: Any, info: dict[str, Any], episode: int) -> int:
        return -1 if observation[1] == 0 else half(observation, action, info, episode)

    totals = only(play(ones, lambda: GroupAssignment(CoinEnv(), later, per="step", group_names=NAMES), n=12)).totals
    worth = values(12)
    is_high = worth > 0.5
    assert 0 < is_high.sum() < 12
    expected = [worth[~is_high].mean() + worth.sum() / 24, worth[is_high].mean() + worth.sum() / 24]
    np.testing.assert_allclose(totals.benefit.sum(axis=0) / totals.demand.sum(axis=0), expected, rtol=1e-6)


def test_patient_records_are_what_evaluate_episodes_finds() -> None:
    result = only(play(ones, PatientEnv, n_envs=3))

    class Ones:
        def predict(self, observation: Any, **kwargs: Any) -> tuple[Any, None]:
            return ones(observation), None

    expected = evaluate_episodes(Ones(), PatientEnv, 5, SEED, n_envs=2)  # type: ignore[arg-type]
    assert result.episodes is not None
    np.testing.assert_array_equal(result.episodes.records, expected.records)
    np.testing.assert_array_equal(result.totals.benefit, expected.totals().benefit)
    np.testing.assert_array_equal(result.costs, np.full(5, 0.5))
    np.testing.assert_array_equal(result.totals.benefit, np.outer([1, 2, 3, 1, 2], [0, 5]))
    assert play(ones, PatientEnv).measure == "benefit rate"


def test_groups_of_a_wrapper_are_not_those_of_the_records() -> None:
    def env() -> gym.Env:
        return GroupAssignment(PatientEnv(), lambda *_: 2, group_names=("a", "b", "c"))

    result = only(play(ones, env))
    assert result.episodes is None
    np.testing.assert_array_equal(result.totals.benefit[:, 2], [5, 10, 15, 5, 10])


MODELS: dict[str, Callable[[], Any]] = {
    "ppo": lambda: PPO("MlpPolicy", make_coin(), **SMALL),
    "maskable": lambda: MaskablePPO("MlpPolicy", make_coin(True), **SMALL),
    "recurrent": lambda: RecurrentPPO("MlpLstmPolicy", make_coin(), **SMALL),
    "dqn": lambda: DQN("MlpPolicy", make_coin(), seed=0, device="cpu", buffer_size=10),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("deterministic", [True, False])
def test_models_play_the_same_in_every_number_of_environments(kind: str, deterministic: bool) -> None:
    """Drawn actions too: every episode has a stream of its own. Global generators stay as they were."""
    model, env = MODELS[kind](), lambda: make_coin(kind == "maskable")
    before, numpy_before = th.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    one, three = (only(play(model, env, n=9, n_envs=n, deterministic=deterministic)) for n in (1, 3))
    np.testing.assert_array_equal(one.returns, three.returns)
    np.testing.assert_array_equal(one.totals.benefit, three.totals.benefit)
    assert th.equal(before, th.get_rng_state())
    np.testing.assert_array_equal(numpy_before, np.random.get_state()[1])  # type: ignore[index]
    if kind != "dqn":
        assert len({only(play(model, env, n=20, deterministic=d)).returns.sum() for d in (True, False)}) == 2
    assert one.kind == "model"


class Elsewhere(VecEnv):
    """As environments in other processes: reached by ``env_method`` and ``get_attr`` alone."""

    def __init__(self, near: VecEnv) -> None:
        self.near = near
        super().__init__(near.num_envs, near.observation_space, near.action_space)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return self.near.get_attr(attr_name, indices)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        return self.near.env_method(method_name, *args, indices=indices, **kwargs)

    def _unused(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    reset = step_async = step_wait = set_attr = env_is_wrapped = _unused

    def close(self) -> None:
        self.near.close()


def make_env_in(form: str) -> Any:
    if form == "env":
        return make_coin()
    if form == "dummy":
        return DummyVecEnv([make_coin] * 2)
    if form == "normalised":
        return VecNormalize(DummyVecEnv([make_coin] * 2), norm_obs=False)
    return Elsewhere(DummyVecEnv([make_coin] * 2))


@pytest.mark.parametrize("form", ["env", "dummy", "normalised", "elsewhere"])
def test_every_form_of_environment_plays_the_same_episodes(form: str) -> None:
    env = make_env_in(form)
    np.testing.assert_allclose(only(play(ones, env)).returns, 3 * values(5))
    env.close()


def test_normalised_observations_reach_models_and_statistics_stay(tmp_path: Path) -> None:
    """A model sees x - mean from the wrapper given, from its own wrapper, and from the file beside it; records are raw."""
    env = VecNormalize(DummyVecEnv([make_coin]), norm_reward=True, clip_obs=100.0)
    assert isinstance(env.obs_rms, RunningMeanStd)
    env.obs_rms.mean[:], env.obs_rms.var[:], env.obs_rms.count = [0.5, 0.5], [0.04, 0.04], 1e6
    model = PPO("MlpPolicy", env, **SMALL)
    model.save(tmp_path / "model.zip")
    env.save(str(statistics_path(tmp_path / "model.zip")))
    seen: list[np.ndarray] = []
    original = model.policy.obs_to_tensor
    model.policy.obs_to_tensor = lambda observation: (seen.append(observation), original(observation))[1]
    results = [play(model, env, deterministic=True), play(model, make_coin, deterministic=True)]
    model.policy.obs_to_tensor = original
    results.append(play(tmp_path / "model.zip", make_coin, deterministic=True))
    worth = values(5)
    np.testing.assert_allclose(seen[0][0], (np.array([worth[0], 0.0]) - 0.5) / np.sqrt(0.04 + 1e-8), rtol=1e-5)
    for result in results:
        np.testing.assert_array_equal(only(result).returns, only(results[0]).returns)
        assert only(result).returns.max() <= 3
    assert env.obs_rms.count == 1e6 and env.ret_rms.count < 1


def test_rules_by_name_and_models_meet_the_same_patients() -> None:
    model = GroupRobustPPO("MlpPolicy", "Hospital-Rural-v0", n_steps=8, batch_size=8, seed=0, device="cpu")
    result = evaluate_policies({"model": model, "triage": "triage"}, "Hospital-Rural-v0", 2, 0, SEED)
    np.testing.assert_array_equal(result["model"].totals.demand, result["triage"].totals.demand)
    assert (result["triage"].kind, result["triage"].algorithm, result.env) == ("rule", "HeuristicPolicy", "Hospital-Rural-v0")
    assert result.scenario is not None and result.scenario.name == "Rural"
    assert result["triage"].episodes is not None and result["triage"].episodes.utilisation


def test_episodes_are_added_until_intervals_are_narrow() -> None:
    result = play(ones, n=40, half_width=0.3, most_episodes=1000, n_envs=4)
    precision = result.precision
    assert precision is not None and precision.met and precision.looks >= 2 and result.n_episodes < 1000
    widths = [(i.high - i.low) / 2 for i in rate_intervals(only(result), 0).values()]
    assert max(widths) == precision.reached <= 0.3
    # the first episodes are those of an evaluation without adding
    np.testing.assert_array_equal(only(result).returns[:40], only(play(ones, n=40)).returns)
    assert "looks at the width" in precision.statement(result.n_episodes)
    limited = play(ones, n=40, half_width=0.001, most_episodes=50)
    assert limited.n_episodes == 50 and limited.precision is not None and not limited.precision.met
    assert "not reached" in limited.precision.statement(50) and "the limit being 50" in limited.precision.statement(50)
    few = widest_interval([only(play(ones, n=3))], 0.1, 0, 1, 5)
    assert not few.met and "no group has an interval" in few.statement(3)


def test_the_function_returns_a_report() -> None:
    report = evaluate_fairness({"ones": ones, "zeros": lambda observation: 0 * ones(observation)}, make_coin, 60, seed=3)
    evaluations = report.evaluations
    assert isinstance(evaluations, EvaluationSet)
    assert (evaluations.seed, evaluations.episode_seed, evaluations.n_episodes) == (3, derived_seed(3, "report"), 60)
    assert "ones" in report.decision and not evaluations.deterministic


def test_progress_of_all_policies_together_and_its_exceptions() -> None:
    seen: list[tuple[int, int]] = []
    play([ones, ones], n=3, names=("a", "b"), progress=lambda finished, total: seen.append((finished, total)))
    assert seen == [(number, 6) for number in range(1, 7)]
    closed: list[bool] = []

    class Closing(CoinEnv):
        def close(self) -> None:
            closed.append(True)

    def stop(finished: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(ones, lambda: GroupAssignment(Closing(), half, group_names=NAMES), progress=stop, n_envs=2)
    assert closed == [True, True]


@pytest.mark.parametrize(
    ("policy", "env", "arguments", "message"),
    [
        ("tirage", "Hospital-Rural-v0", {}, "policy: got 'tirage', expected one of the rules"),
        ("triage", make_coin, {}, "expected a hospital environment"),
        (3, make_coin, {}, "policy 'int': got 3, expected a model"),
        (PPO, make_coin, {}, "policy 'PPO': got <class .*PPO'>, expected a model"),
        (lambda observation: 0, make_coin, {}, r"policy '<lambda>': got actions of shape \(\) for 5 observations"),
        (
            lambda observation: [1],
            make_coin,
            {},
            r"got actions of shape \(1,\) for 5 observations, expected one action for each",
        ),
        (ones, "Hopsital-Rural-v0", {}, "env: got 'Hopsital-Rural-v0'"),
        (ones, 3, {}, "env: got 3, expected the id"),
        (ones, lambda: 3, {}, "env: got a function that makes 3"),
        (ones, CoinEnv, {}, "env: nobody names the groups of CoinEnv"),
        (ones, lambda: VecFrameStack(DummyVecEnv([make_coin]), 2), {}, "makes <stable_baselines3"),
        ([ones, ones], make_coin, {}, "names: got .*for 2 policies, expected a different one"),
        ({"a": ones}, make_coin, {"names": "b"}, "names: got 'b' beside a dict"),
        (ones, make_coin, {"n": 0}, "n_eval_episodes: got 0, expected a whole number >= 1"),
        (ones, make_coin, {"n_envs": 0}, "n_envs: got 0"),
        (ones, make_coin, {"half_width": -1.0}, r"half_width: got -1.0, expected a number > 0"),
        (ones, make_coin, {"most_episodes": 9}, "most_episodes: got 9 without half_width"),
        (ones, make_coin, {"half_width": 1.0, "most_episodes": 3}, "most_episodes: got 3, expected a whole number >= 5"),
        (ones, make_coin, {"progress": "yes"}, "progress: got 'yes'"),
        (ones, make_coin, {"reference": "b"}, r"reference: got 'b', expected one of \['ones'\]"),
        ("nothing.zip", make_coin, {}, "'nothing.zip': expected a file written by model.save"),
    ],
)
def test_nonsense_is_refused(policy: Any, env: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        play(policy, env, **arguments)


def test_environments_that_do_not_fit_are_refused() -> None:
    model = PPO("MlpPolicy", "CartPole-v1", device="cpu")
    with pytest.raises(ValueError, match=r"policy 'PPO': the model sees Box.*\(4,\)"):
        play(model, make_coin)
    with pytest.raises(ValueError, match="VecFrameStack around the environments, expected VecNormalize"):
        play(ones, VecFrameStack(DummyVecEnv([make_coin]), 2))
