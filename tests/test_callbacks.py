"""Callbacks in real, tiny training runs: what they log, write, choose and show."""

import csv
import importlib
import io
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from rich.console import Console
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import FairnessEvalCallback, FairnessLoggingCallback, LiveFairnessCallback
from callbacks.best_model import BestModel
from sb3_grpo import GroupRobustMaskablePPO, GroupRobustPPO
from sb3_grpo.common.evaluation import derived_seed
from sb3_grpo.common.model_files import load_model
from sb3_grpo.fairness.evaluate import evaluate_policies
from sb3_grpo.fairness.metrics import Metrics
from sb3_grpo.fairness.players import statistics_path
from tests.evaluation_envs import PatientEnv
from tests.small_models import SMALL
from tests.test_evaluate_fairness import make_coin


def make(**kwargs: Any) -> GroupRobustPPO:
    return GroupRobustPPO("MlpPolicy", DummyVecEnv([PatientEnv] * 2), **{**SMALL, "n_steps": 20, "batch_size": 20, **kwargs})


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads in the only run of a folder: steps and values by tag."""
    (run,) = (path for path in folder.iterdir() if path.is_dir())
    events = EventAccumulator(str(run))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


class Recorder(BaseCallback):
    """Keeps the patients' records of the training episodes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[int, np.ndarray]] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode_records" in info:
                self.records.append((self.num_timesteps, info["episode_records"]))
        return True


def test_logging_to_tensorboard_and_csv(tmp_path: Path) -> None:
    recorder, callback = Recorder(), FairnessLoggingCallback(window=4, min_patients=20)
    make(tensorboard_log=str(tmp_path)).learn(80, callback=CallbackList([recorder, callback]))
    (run,) = tmp_path.iterdir()
    with (run / "fairness.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["timesteps"], row["episodes"]) for row in rows] == [("40", "4"), ("80", "8")]
    logged = scalars(tmp_path)
    for row, part in zip(rows, (recorder.records[:4], recorder.records[4:]), strict=True):
        records = np.concatenate([records for _, records in part])
        rates = [
            records["benefit"][records["group"] == g].sum() / records["demand"][records["group"] == g].sum() for g in (0, 1)
        ]
        numbers = {
            "even/rate": rates[0],
            "odd/rate": rates[1],
            "worst": min(rates),
            "gap": abs(rates[0] - rates[1]),
            "efficiency": (records["benefit"].sum() - 4 * 0.5) / records["demand"].sum(),
            "even/n": 20,
        }
        for key, number in numbers.items():
            assert float(row[key]) == pytest.approx(number)
            assert dict(logged[f"fairness/{key}"])[int(row["timesteps"])] == pytest.approx(number, rel=1e-6)


def test_logging_without_records_and_with_normalised_rewards(tmp_path: Path) -> None:
    """Rates are raw rewards per episode; groups with too few episodes have none, and empty cells in the file."""
    env = VecNormalize(make_vec_env(make_coin, n_envs=2, seed=0))
    model = PPO("MlpPolicy", env, **{**SMALL, "n_steps": 60, "batch_size": 60})
    returns: list[float] = []

    class Returns(BaseCallback):
        def _on_step(self) -> bool:
            returns.extend(info["episode"]["r"] for info in self.locals["infos"] if "episode" in info)  # by SB3's Monitor
            return True

    paths = [tmp_path / "any.csv", tmp_path / "many.csv"]
    logs = [
        FairnessLoggingCallback(csv_path=str(path), min_patients=least) for path, least in zip(paths, (1, 41), strict=True)
    ]
    model.learn(120, callback=[*logs, Returns()])
    rows = []
    for path in paths:
        with path.open(encoding="utf-8") as file:
            rows += list(csv.DictReader(file))
    row = {key: float(value) for key, value in rows[0].items()}
    assert row["low/n"] + row["high/n"] == len(returns) == 40
    assert row["low/rate"] * row["low/n"] + row["high/rate"] * row["high/n"] == pytest.approx(sum(returns), abs=1e-4)
    assert row["worst"] == row["low/rate"] and row["efficiency"] == pytest.approx(np.mean(returns), abs=1e-5)
    assert [rows[1][key] for key in ("low/rate", "high/rate", "worst", "gap")] == [""] * 4
    assert rows[1]["low/n"] == rows[0]["low/n"]


def test_logging_goes_on_in_the_same_file_and_ends_twice(tmp_path: Path) -> None:
    path, model = tmp_path / "log.csv", make()
    callback = FairnessLoggingCallback(csv_path=str(path), log_every=60, window=1, min_patients=1)
    model.learn(80, callback=callback)
    text = path.read_text(encoding="utf-8")
    callback.on_training_end()
    assert path.read_text(encoding="utf-8") == text
    assert [line.split(",")[0] for line in text.splitlines()] == ["timesteps", "80"]
    model.learn(80, callback=callback, reset_num_timesteps=False)
    assert [line.split(",")[0] for line in path.read_text(encoding="utf-8").splitlines()] == ["timesteps", "80", "160"]


def test_evaluation_writes_and_logs_what_it_found(tmp_path: Path) -> None:
    callback = FairnessEvalCallback(
        PatientEnv(),
        n_eval_episodes=6,
        eval_freq=10,
        log_path=str(tmp_path / "eval"),
        best_model_save_path=str(tmp_path / "best"),
        min_patients=30,
        verbose=0,
    )
    model = make(tensorboard_log=str(tmp_path / "tb"))
    model.learn(80, callback=callback)
    with np.load(tmp_path / "eval" / "evaluations.npz") as arrays:
        found = dict(arrays)
    shapes = {
        **dict.fromkeys(("timesteps", "worst", "gap", "efficiency", "levelling_best", "is_best"), (4,)),
        **dict.fromkeys(("results", "ep_lengths", "costs"), (4, 6)),
        **dict.fromkeys(("group_rates", "group_counted"), (4, 2)),
        **dict.fromkeys(("demand", "benefit"), (4, 6, 2)),
        "group_names": (2,),
    }
    assert {key: value.shape for key, value in found.items()} == shapes
    assert found["timesteps"].tolist() == [20, 40, 60, 80] and found["group_names"].tolist() == ["even", "odd"]
    rates = found["benefit"].sum(axis=1) / found["demand"].sum(axis=1)
    np.testing.assert_allclose(found["group_rates"], rates)
    np.testing.assert_allclose(found["worst"], rates.min(axis=1))
    np.testing.assert_allclose(found["gap"], np.ptp(rates, axis=1))
    np.testing.assert_allclose(found["results"], found["benefit"].sum(axis=2), rtol=1e-6)
    net = found["benefit"].sum(axis=(1, 2)) - found["costs"].sum(axis=1)
    np.testing.assert_allclose(found["efficiency"], net / found["demand"].sum(axis=(1, 2)))
    best = np.maximum.accumulate(found["worst"])
    np.testing.assert_array_equal(found["is_best"], np.diff(best, prepend=-1) > 0)
    np.testing.assert_allclose(found["levelling_best"], rates.max(axis=1) - np.maximum.accumulate(rates.max(axis=1)))
    assert (found["ep_lengths"] == 10).all() and (found["group_counted"] == 30).all()

    logged = scalars(tmp_path / "tb")
    for key, array in {
        **{key: found[key] for key in ("worst", "gap", "efficiency", "levelling_best")},
        "mean_reward": found["results"].mean(axis=1),
        "even/rate": rates[:, 0],
        "odd/n": found["group_counted"][:, 1],
    }.items():
        assert [step for step, _ in logged[f"eval/{key}"]] == [20, 40, 60, 80]
        np.testing.assert_allclose([value for _, value in logged[f"eval/{key}"]], array, rtol=1e-6, atol=1e-7)

    # what was saved is the best, evaluated on the validation episodes
    saved = evaluate_policies(
        load_model(tmp_path / "best" / "best_model.zip"), PatientEnv, 6, 0, derived_seed(0, "validation")
    )
    np.testing.assert_array_equal(saved.evaluations[0].totals.benefit, found["benefit"][found["worst"].argmax()])


def test_training_goes_the_same_way_with_and_without_evaluation() -> None:
    """Made and trained one after the other: SB3 seeds the global generators when it makes a model."""
    watch = FairnessEvalCallback(PatientEnv(), n_eval_episodes=6, eval_freq=7, verbose=0)
    plain, watched = (make().learn(80, callback=callback).policy for callback in (None, watch))
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert th.equal(one, other)


class Scripted(FairnessEvalCallback):
    """Finds what it is told instead of what a policy does."""

    def __init__(self, results: list[tuple[float, float]], **kwargs: Any) -> None:
        super().__init__(PatientEnv(), n_eval_episodes=1, eval_freq=10, min_patients=1, verbose=0, **kwargs)
        self.results = results
        self.saved: list[int] = []

    def _metrics(self, evaluation: Any) -> Metrics:
        worst, efficiency = self.results.pop(0)
        return Metrics(np.array([worst, 0.9]), worst, 0.9 - worst, efficiency, efficiency, 0.0)

    def _save_best(self) -> None:
        self.saved.append(self.num_timesteps)


RESULTS = [(0.1, 0.9), (0.5, 0.6), (0.3, 0.8), (0.2, 0.9), (0.4, 0.85), (0.4, 0.9)]


@pytest.mark.parametrize(
    ("arguments", "saved"),
    [
        ({}, [20, 40]),
        ({"min_efficiency": 0.8}, [20, 60, 100]),
        ({"min_efficiency": 0.85}, [20, 80, 100]),
        # the reference, an efficiency of 1, takes the first result
        ({"min_efficiency_share": 0.84, "reference": "reference.zip"}, [20, 80, 100]),
    ],
)
def test_best_model_by_worst_group_among_the_efficient(
    arguments: dict[str, Any], saved: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make().save("reference.zip")
    results = [(0.5, 1.0)] * ("reference" in arguments) + RESULTS
    callback = Scripted(results, **arguments)
    make().learn(120, callback=callback)
    assert callback.saved == saved and callback.results == []


def test_no_model_efficient_enough_is_said_once() -> None:
    callback = Scripted(list(RESULTS), min_efficiency=0.95)
    with pytest.warns(UserWarning, match="no evaluated model had an efficiency of at least 0.95") as caught:
        make().learn(120, callback=callback)
        callback.on_training_end()
    assert len(caught) == 1 and callback.saved == []


@pytest.mark.parametrize(("patience", "stops_at"), [(1, 60), (3, 100), (4, 120)])
def test_stops_after_evaluations_without_a_new_best(patience: int, stops_at: int) -> None:
    model = make()
    model.learn(400, callback=Scripted(RESULTS + [(0.1, 1.0)] * 20, patience=patience))
    assert model.num_timesteps == stops_at


def test_too_few_patients_are_said_once_and_choose_nothing() -> None:
    callback = FairnessEvalCallback(PatientEnv(), n_eval_episodes=5, eval_freq=10, patience=1, verbose=0)
    with pytest.warns(UserWarning, match="none of the groups .* has min_patients=30") as caught:
        make().learn(60, callback=callback)
    assert len(caught) == 1 and not callback.best.found and callback.best.n_evaluations == 0


def test_callbacks_of_the_parent_are_triggered() -> None:
    class Counter(BaseCallback):
        count = 0

        def _on_step(self) -> bool:
            self.count += 1
            return self.count < 3

    new_best, after = Counter(), Counter()
    model = make()
    model.learn(400, callback=Scripted(list(RESULTS), callback_on_new_best=new_best, callback_after_eval=after))
    assert (new_best.count, after.count, model.num_timesteps) == (2, 3, 60)


@pytest.mark.parametrize("kind", ["maskable", "recurrent", "normalised"])
def test_models_of_every_kind_in_environments_like_those_of_training(kind: str, tmp_path: Path) -> None:
    """``eval_env=None`` makes what training has, wrappers included; statistics are those of training, and saved."""
    path = tmp_path / "best"
    callback = FairnessEvalCallback(
        None, n_eval_episodes=4, eval_freq=10, min_patients=1, best_model_save_path=str(path), verbose=0
    )
    env: Any = make_vec_env("Hospital-Rural-v0", n_envs=2) if kind == "maskable" else make_vec_env(registered_coin, n_envs=2)
    settings = {**SMALL, "n_steps": 12, "batch_size": 12}
    model: BaseAlgorithm
    if kind == "maskable":
        callback.n_eval_episodes = 1
        model = GroupRobustMaskablePPO("MlpPolicy", env, **settings)
    elif kind == "recurrent":
        model = RecurrentPPO("MlpLstmPolicy", env, **settings)
    else:
        model = PPO("MlpPolicy", VecNormalize(env), **settings)
    model.learn(24, callback=callback)
    assert callback.best.n_evaluations == 1 and (path / "best_model.zip").is_file()
    assert statistics_path(path / "best_model.zip").is_file() == (kind == "normalised")


def registered_coin() -> gym.Env:
    return gym.make("tests/GroupedCoin-v0")


gym.register("tests/GroupedCoin-v0", entry_point="tests.test_evaluate_fairness:make_coin")


def test_statistics_of_evaluation_environments_follow_training() -> None:
    train, evaluate = (VecNormalize(DummyVecEnv([PatientEnv])) for _ in range(2))
    evaluate.training = False
    model = PPO("MlpPolicy", train, **{**SMALL, "n_steps": 20, "batch_size": 20})
    model.learn(20, callback=FairnessEvalCallback(evaluate, n_eval_episodes=6, eval_freq=20, verbose=0))
    assert isinstance(evaluate.obs_rms, RunningMeanStd) and isinstance(train.obs_rms, RunningMeanStd)
    assert evaluate.obs_rms.count == train.obs_rms.count > 1
    with pytest.raises(ValueError, match="eval_env: got other wrappers"):
        model.set_env(VecMonitor(train))
        model.learn(20, callback=FairnessEvalCallback(evaluate, n_eval_episodes=6, eval_freq=20, verbose=0))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("callbacks.fairness_logging.FairnessLoggingCallback", {"window": 10}),
        ("callbacks.FairnessLoggingCallback", {}),
        ("callbacks.FairnessEvalCallback", {"eval_freq": 6, "n_eval_episodes": 3, "min_patients": 1, "patience": 9}),
        ("callbacks.LiveFairnessCallback", {"line_every": 6}),
    ],
)
def test_made_from_a_dotted_path_and_scalars(name: str, arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """As RL Zoo does, which also calls ``on_training_end`` a second time."""
    module, _, class_name = name.rpartition(".")
    callback = getattr(importlib.import_module(module), class_name)(**arguments)
    PPO("MlpPolicy", make_vec_env(registered_coin, n_envs=2), **SMALL).learn(32, callback=callback)
    printed = capsys.readouterr()
    callback.on_training_end()
    assert capsys.readouterr() == ("", "")
    assert ("low" in printed.out) == (class_name == "LiveFairnessCallback")


def test_live_view_prints_plain_lines_elsewhere() -> None:
    out = io.StringIO()
    callback = LiveFairnessCallback(line_every=40, min_patients=5, console=Console(file=out, force_terminal=False, width=60))
    make(lam=0.25).learn(90, callback=callback)
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert [line.split(" steps")[0] for line in lines] == ["40 of 90", "80 of 90", "120 of 90"]
    assert "lam 0.25" in lines[0] and "even 0." in lines[0] and "worst 0." in lines[0] and "weight" in lines[1]


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_live_view_leaves_the_terminal_as_it_was(error: type[BaseException] | None) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=20)
    callback = LiveFairnessCallback(refresh_every=10, min_patients=5, console=console)

    class Failing(BaseCallback):
        def _on_step(self) -> bool:
            if error is not None and self.num_timesteps == 50:
                raise error
            return True

    model = make()
    if error is None:
        model.learn(80, callback=[callback, Failing()])
        assert "worst" in out.getvalue() and "weight" in out.getvalue()
    else:
        with pytest.raises(error):
            model.learn(80, callback=[callback, Failing()])
    text = out.getvalue()
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor was shown last
    assert "\x1b[?1049h" not in text  # the alternate screen was never entered
    model.learn(80, callback=callback)  # and the callback can be used again


@pytest.mark.parametrize(
    ("make_callback", "message"),
    [
        (lambda: FairnessLoggingCallback(window=0), "window: got 0, expected a whole number >= 1"),
        (lambda: FairnessLoggingCallback(log_every=1.5), "log_every: got 1.5"),  # type: ignore[arg-type]
        (lambda: LiveFairnessCallback(refresh_every=0), "refresh_every: got 0"),
        (lambda: FairnessEvalCallback(n_eval_episodes=0), "n_eval_episodes: got 0"),
        (lambda: FairnessEvalCallback(eval_freq="often"), "eval_freq: got 'often', expected a whole number"),  # type: ignore[arg-type]
        (lambda: FairnessEvalCallback(seed=None), "seed: got None, expected a whole number >= 0"),  # type: ignore[arg-type]
        (lambda: FairnessEvalCallback(patience=0), "patience: got 0"),
        (lambda: FairnessEvalCallback(min_efficiency="high"), "min_efficiency: got 'high'"),  # type: ignore[arg-type]
        (lambda: FairnessEvalCallback(min_efficiency_share=0.9), "min_efficiency_share: got 0.9 without reference"),
        (lambda: FairnessEvalCallback(min_efficiency_share=-1.0, reference="triage"), "min_efficiency_share: got -1.0"),
        (lambda: BestModel(None, 0.9).set_reference(-0.1), "of a reference with efficiency -0.1"),
    ],
)
def test_bad_arguments_are_refused(make_callback: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_callback()


def test_environments_without_groups_or_registration_are_refused() -> None:
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu")
    for callback in (FairnessLoggingCallback(), LiveFairnessCallback()):
        with pytest.raises(ValueError, match="group_names: nobody names the groups"):
            model.learn(8, callback=callback)
    with pytest.raises(ValueError, match="eval_env: got 'Hopsital-v0', expected the id of a registered environment"):
        make().learn(8, callback=FairnessEvalCallback("Hopsital-v0", verbose=0))
    with pytest.raises(ValueError, match="eval_env: got None, but the training environments are not registered"):
        make().learn(8, callback=FairnessEvalCallback(verbose=0))
