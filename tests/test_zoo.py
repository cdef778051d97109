"""RL Zoo's commands with the algorithms and hospitals here."""

import copy
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium.envs.registration import EnvSpec
from matplotlib import rc_context
from sb3_contrib import MaskablePPO
from stable_baselines3.common import env_util
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_grpo import GroupRobustPPO, make_vec_env
from sb3_grpo.cli import main as sb3_grpo_command
from sb3_grpo.zoo import main
from sb3_grpo.zoo.episode_log import EpisodeLog
from sb3_grpo.zoo.masks import MaskedArray, MasksInObservations, ZooMaskablePPO
from tests.zoo_runs import small, time_limit_kept, train, zoo

RURAL = "Hospital-Rural-v0"
MASKED = "group_robust_maskable_ppo"


@pytest.fixture(scope="module", autouse=True)
def _time_limit() -> Iterator[None]:
    with time_limit_kept():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a masked algorithm was trained in a hospital and evaluated twice."""
    folder = tmp_path_factory.mktemp("zoo")
    evaluated = ["--eval-freq", "512", "--eval-episodes", "2"]
    assert train(folder, MASKED, RURAL, 1280, *evaluated, *small()) == 0
    return folder


@pytest.fixture
def masks_seen(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each call of ``MaskablePPO.predict`` whether it was told which actions are valid."""
    seen: list[bool] = []
    predict = MaskablePPO.predict

    def spy(self: Any, observation: Any, *args: Any, **kwargs: Any) -> Any:
        masks = args[3] if len(args) > 3 else kwargs.get("action_masks")
        seen.append(masks is not None)
        return predict(self, observation, *args, **kwargs)

    monkeypatch.setattr(MaskablePPO, "predict", spy)
    return seen


# -- Training and playing --------------------------------------------------------------------------------------------


def test_training_leaves_what_the_zoo_expects(run: Path) -> None:
    folder = run / "logs" / MASKED / f"{RURAL}_1"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        f"{RURAL}.zip",
        "best_model.zip",
        "0.monitor.csv",
        "evaluations.npz",
        *(f"{RURAL}/{name}" for name in ("vecnormalize.pkl", "config.yml", "args.yml", "command.txt")),
    }
    episodes = load_results(str(folder))
    assert len(episodes) >= 2 and episodes["r"].between(1, 1000).all()
    found = np.load(folder / "evaluations.npz")
    assert found["results"].shape == (2, 2) and found["group_rates"].shape == (2, 4)


def test_enjoy_takes_the_masks_of_the_environment(
    run: Path, masks_seen: list[bool], capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo(run, "enjoy", "--algo", MASKED, "--env", RURAL, "-n", "700") == 0
    assert "Episode Reward: " in capsys.readouterr().out
    assert len(masks_seen) == 700 and all(masks_seen)


def test_zoo_evaluation_takes_the_masks_of_the_environment(
    tmp_path: Path, masks_seen: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In environments that are no hospitals RL Zoo evaluates as ever."""
    monkeypatch.setitem(gym.registry, "Masked-v0", EnvSpec("Masked-v0", "tests.test_zoo:OneOfTwo"))
    assert train(tmp_path, "maskable_ppo", "Masked-v0", 256, "--eval-freq", "128", "--eval-episodes", "1", *small(1)) == 0
    assert masks_seen and all(masks_seen)


class OneOfTwo(gym.Env[np.ndarray, np.int64]):
    """Four steps; only the action that the observation names is valid, any other is an error."""

    observation_space = gym.spaces.Box(0, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps, self.valid = 0, int(self.np_random.integers(2))
        return np.array([self.valid], dtype=np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert action == self.valid
        self.steps, self.valid = self.steps + 1, int(self.np_random.integers(2))
        return np.array([self.valid], dtype=np.float32), 1.0, False, self.steps == 4, {}

    def action_masks(self) -> np.ndarray:
        return np.arange(2) == self.valid


def test_lam_in_yaml(tmp_path: Path) -> None:
    settings = yaml.safe_load(yaml.safe_dump({"n_timesteps": 256, "policy": "MaskedMlpPolicy", "n_envs": 2, "n_steps": 128}))
    more = {"batch_size": 128, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}}
    cases: dict[str, dict[str, Any]] = {
        "linear": {"lam": "lin_0.4"},
        "auto": {"lam": "auto", "min_benefit": 0.7, "max_gap": 0.1},
    }
    for number, (name, lam) in enumerate(cases.items(), start=1):
        file = tmp_path / f"{name}.yml"
        file.write_text(yaml.safe_dump({RURAL: {**settings, **more, **lam}}))
        words = [
            "--algo",
            "group_robust_ppo",
            "--env",
            RURAL,
            "--conf-file",
            str(file),
            "--eval-freq",
            "-1",
            "--device",
            "cpu",
        ]
        assert zoo(tmp_path, "train", *words) == 0
        model = GroupRobustPPO.load(tmp_path / f"logs/group_robust_ppo/{RURAL}_{number}/{RURAL}.zip", device="cpu")
        if name == "linear":
            assert [model.lam_schedule(progress) for progress in (1.0, 0.5, 0.0)] == pytest.approx([0.4, 0.2, 0.0])
        else:
            assert model.lam == "auto" and model.max_gap == 0.1 and model.min_benefit == 0.7


def test_training_goes_on_from_a_model(tmp_path: Path) -> None:
    assert train(tmp_path, "group_robust_ppo", RURAL, 256, "--eval-freq", "-1", *small()) == 0
    before = tmp_path / f"logs/group_robust_ppo/{RURAL}_1/{RURAL}.zip"
    more = small(lam="'lin_0.5'")
    assert train(tmp_path, "group_robust_ppo", RURAL, 256, "--eval-freq", "-1", "-i", str(before), *more) == 0
    model = GroupRobustPPO.load(tmp_path / f"logs/group_robust_ppo/{RURAL}_2/{RURAL}.zip", device="cpu")
    assert model._n_updates == 2 and model.lam_schedule(1.0) == 0.5


def test_other_environments_have_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--eval-freq", "-1", *small(lam="0.0")]
    assert train(tmp_path, "group_robust_ppo", "CartPole-v1", 256, *words) == 0
    assert zoo(tmp_path, "config", "--algo", "group_robust_ppo", "--env", "CartPole-v1") == 0
    assert "zoo_configs/group_robust_ppo/default.yml\n" in capsys.readouterr().out
    # RL Zoo has tuned PPO there itself
    assert zoo(tmp_path, "config", "--algo", "ppo", "--env", "CartPole-v1") == 2
    assert "expected one without settings of RL Zoo's own for CartPole-v1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["urban", "published"])
def test_settings_are_found(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = [] if name == "urban" else ["--conf-file", name]
    unset = ["-params", "lam:2.0"]  # so that nothing is trained
    assert zoo(tmp_path, "train", "--algo", "group_robust_ppo", "--env", "Hospital-Urban-v0", *named, *unset) == 2
    file = f"zoo_configs/group_robust_ppo/{name}.yml"
    found = capsys.readouterr()
    assert file in found.out and f"{file}: `lam` must be in [0, 1], got 2.0" in found.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "got 'nonsense', expected one of train, enjoy"),
        (["train", "--algo", "nonsense"], "--algo: got 'nonsense', expected one of a2c, .*group_robust_ppo"),
        (["train", "--env", "Hospital-Uran-v0"], "--env: got 'Hospital-Uran-v0', expected perhaps 'Hospital-Urban-v0'"),
        (["train", "--gym-packages", "nowhere"], "--gym-packages: No module named 'nowhere'"),
        (
            ["train", "--algo", "ppo", "--conf-file", "nowhere.yml"],
            "--conf-file: got 'nowhere.yml', expected a file",
        ),
        (["train", "--min-efficiency-share", "-1"], "--min-efficiency-share: got -1.0, expected a number > 0"),
        (["enjoy", "--algo", "ppo", "--env", RURAL], "The logs/ppo folder was not found"),
        (["record_video", "--algo", "ppo", "--env", "Nowhere-v0"], "--env: got 'Nowhere-v0', expected"),
        (["plot_train", "-a", "ppo", "-e", "Rural", "-f", "nowhere"], "No such file or directory: 'nowhere/ppo'"),
        (["best", "--algo", "ppo", "--env", RURAL], "--study-name: got 'ppo-Hospital-Rural-v0', expected one of \\[\\]"),
        (["best", "--storage", "nothing://at.all"], "--storage: nothing://at.all cannot be opened"),
        (
            ["best", "--storage", "postgresql://me:secret@nowhere.invalid/db"],
            "--storage: postgresql.*//...@nowhere.inv",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo(tmp_path, words[0], *words[1:]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1 and "secret" not in error


def test_cases_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["-params", "n_cases:16", "answers:4", "batch_size:32", "n_epochs:1", "policy_kwargs:dict(net_arch=[8])"]
    table = "Diagnosis-BreastCancer-v0"
    assert train(tmp_path, "fair_grpo", table, 128, "--eval-freq", "-1", *few) == 0
    assert zoo(tmp_path, "enjoy", "--algo", "fair_grpo", "--env", table, "-f", "logs", "--no-render", "-n", "5") == 0
    assert "Mean episode length: 1.00 +/- 0.00" in capsys.readouterr().out
    assert train(tmp_path, "fair_grpo", table, 128, "-optimize") == 2
    assert "expected another algorithm, or sb3-grpo diagnose --tune" in capsys.readouterr().err


def test_without_rl_zoo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["train"]) == 2
    assert capsys.readouterr().err.endswith("RL Baselines3 Zoo is missing: pip install 'sb3-grpo[zoo]'\n")


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        sb3_grpo_command(["zoo", "--help"])
    assert "  record_video    record a video of a trained model\n" in capsys.readouterr().out
    words = sys.argv
    with pytest.raises(SystemExit):
        sb3_grpo_command(["zoo", "train", "--help"])
    text = capsys.readouterr().out
    assert "--min-efficiency-share X" in text and "--n-timesteps" in text and sys.argv is words


# -- Environments ----------------------------------------------------------------------------------------------------


def test_episode_log_is_what_monitor_writes(tmp_path: Path) -> None:
    compiled = EpisodeLog(make_vec_env(RURAL, 2), str(tmp_path / "one"), RURAL, ("episode_cost",))
    single = env_util.make_vec_env(
        RURAL, 2, monitor_dir=str(tmp_path / "two"), monitor_kwargs={"info_keywords": ("episode_cost",)}
    )
    for envs in (compiled, single):
        envs.seed(5)
        envs.reset()
        for _ in range(2400):
            envs.step(np.zeros(2, dtype=np.int64))
        envs.close()
    one, two = (load_results(str(tmp_path / name)).sort_values("r", ignore_index=True) for name in ("one", "two"))
    assert len(one) >= 4
    assert list(one["l"]) == list(two["l"])
    np.testing.assert_allclose(one[["r", "episode_cost"]], two[["r", "episode_cost"]])


@pytest.mark.parametrize("norm_obs", [False, True])
def test_masks_go_through_normalisation(norm_obs: bool) -> None:
    envs = VecNormalize(MasksInObservations(DummyVecEnv([OneOfTwo, OneOfTwo])), norm_obs=norm_obs)
    envs.seed(3)
    for begin in (True, False):
        observations = envs.reset() if begin else envs.step(np.array([env.valid for env in unwrapped(envs)]))[0]
        expected = [env.action_masks() for env in unwrapped(envs)]
        assert isinstance(observations, MaskedArray)
        np.testing.assert_array_equal(observations.action_masks, expected)
        np.testing.assert_array_equal(copy.deepcopy(observations).action_masks, expected)


def unwrapped(envs: VecNormalize) -> list[OneOfTwo]:
    return [env.unwrapped for env in envs.unwrapped.envs]  # type: ignore[attr-defined]


def test_masks_given_come_first() -> None:
    model = ZooMaskablePPO("MlpPolicy", DummyVecEnv([OneOfTwo]), device="cpu", seed=0)
    observation = np.zeros((1, 1), dtype=np.float32).view(MaskedArray)
    observation.action_masks = np.array([[True, False]])
    assert [model.predict(observation)[0].item() for _ in range(20)] == [0] * 20
    assert [model.predict(observation, action_masks=np.array([[False, True]]))[0].item() for _ in range(20)] == [1] * 20
    assert {model.predict(np.asarray(observation))[0].item() for _ in range(100)} == {0, 1}


# -- Plots and videos ------------------------------------------------------------------------------------------------


def test_plots_become_files(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with rc_context():
        assert zoo(run, "plot_train", "-a", MASKED, "-e", RURAL, "-f", "logs", "-w", "1", "--figures", "drawn") == 0
        words = ["-a", MASKED, "-e", RURAL, "-f", "logs", "--no-million", "-o", "results"]
        assert zoo(run, "all_plots", *words, "--figures", "drawn") == 0
    assert {path.name for path in (run / "drawn").glob("*.png")} == {
        "training-episodic-reward.png",
        "results-hospital-rural-v0.png",
    }
    assert "drawn/results-hospital-rural-v0.png\n" in capsys.readouterr().out
    assert (run / "results.pkl").is_file()


def test_a_video_of_a_hospital(run: Path) -> None:
    assert zoo(run, "record_video", "--algo", MASKED, "--env", RURAL, "-n", "2", "-o", "videos") == 0
    (video,) = (run / "videos").glob("*.mp4")
    assert video.stat().st_size > 1000
