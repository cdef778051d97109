"""``sb3-grpo train``: one model, interrupted and finished, alone and with others."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecNormalize

from sb3_grpo import GroupRobustMaskablePPO, GroupRobustPPO
from sb3_grpo.cli import main, train
from sb3_grpo.cli.checkpoints import newest_checkpoint
from sb3_grpo.cli.workers import Display

ROLLOUT = 16 * 256


def command(folder: Path, *more: str) -> list[str]:
    return ["train", "--scenario", "Rural", "--steps", str(4 * ROLLOUT), "--out", str(folder), *more]


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where a training was interrupted in its third rollout."""

    def advance(self: Display, place: int, steps: int) -> None:
        if steps > 2.5 * ROLLOUT:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as context:
        context.setattr(Display, "advance", advance)
        assert main(command(tmp_path)) == 130
    return tmp_path


def test_interrupted_training_goes_on(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = newest_checkpoint(interrupted / "checkpoints")
    assert checkpoint is not None
    before = GroupRobustPPO.load(checkpoint.model, device="cpu")
    assert 2.5 * ROLLOUT < before.num_timesteps < 3 * ROLLOUT
    assert before._n_updates == 2 * 4
    assert not (interrupted / "model.zip").exists()

    assert main(command(interrupted)) == 0
    assert f"{checkpoint.folder}: goes on from there" in capsys.readouterr().out
    model = GroupRobustPPO.load(interrupted / "model.zip", device="cpu")
    assert 4 * ROLLOUT <= model.num_timesteps < 5 * ROLLOUT
    assert model._n_updates > before._n_updates
    assert model._current_progress_remaining <= 0
    assert not (interrupted / "checkpoints").exists()
    assert json.loads((interrupted / "settings.json").read_text())["models"]["model"]["settings"]["seed"] == 0
    logs = sorted(interrupted.glob("log-*/progress.csv"))
    assert [log.parent.name for log in logs] == ["log-0", f"log-{before.num_timesteps}"]

    assert main(command(interrupted)) == 0
    assert "finished before with these settings" in capsys.readouterr().out


def test_checkpoint_brings_later_episodes_and_statistics(interrupted: Path) -> None:
    checkpoint = newest_checkpoint(interrupted / "checkpoints")
    assert checkpoint is not None and checkpoint.episodes >= 1
    arguments = ["--seed", "0"]
    parsed = _parsed(command(interrupted, *arguments))
    training = train.Training(train.read_hospitals(parsed)[0], parsed)
    env = training._make_env(checkpoint)
    model = training._make_model(env, checkpoint)
    assert isinstance(env, VecNormalize) and env.ret_rms.count > 2 * ROLLOUT
    env.reset()
    assert [info["episode"] for info in env.unwrapped.reset_infos] == [checkpoint.episodes] * 16
    other = training._make_env(None)
    training._make_model(other, None)
    other.reset()
    assert [info["episode"] for info in other.unwrapped.reset_infos] == [0] * 16
    assert model.n_envs == 16


def _parsed(words: list[str]) -> Any:
    import argparse

    parser = argparse.ArgumentParser()
    train.add_parser(parser.add_subparsers())
    return parser.parse_args(words)


def test_checkpoint_of_other_settings_is_an_error(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(interrupted, "--lam", "0.5")) == 2
    assert "was trained with other settings, expected the same, another folder or --fresh" in capsys.readouterr().err
    assert (
        main([*command(interrupted, "--lam", "0.5", "--fresh")[:4], str(ROLLOUT), "--out", str(interrupted), "--fresh"]) == 0
    )


def test_masks_targets_checkpoints_and_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    write = train.CheckpointCallback.write

    def noted(self: train.CheckpointCallback) -> None:
        written.append(self.model.num_timesteps)
        write(self)

    monkeypatch.setattr(train.CheckpointCallback, "write", noted)
    options = [
        "--algo",
        "group_robust_maskable_ppo",
        "--lam",
        "auto",
        "--min-benefit",
        "0.5",
        "--checkpoint-every",
        str(2 * ROLLOUT),
    ]
    assert main(command(tmp_path, *options, "--eval-every", str(2 * ROLLOUT), "--eval-episodes", "2")) == 0
    model = GroupRobustMaskablePPO.load(tmp_path / "model.zip", device="cpu")
    assert model.group_names is not None
    assert model.lam == "auto" and model.min_benefit == dict.fromkeys(model.group_names, 0.5)
    assert written == [2 * ROLLOUT]
    evaluations = np.load(tmp_path / "log-0" / "evaluations.npz")
    assert evaluations["timesteps"].tolist() == [2 * ROLLOUT, 4 * ROLLOUT]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scenario", "all"], "--scenario: got 'all', expected one hospital"),
        (["--lam", "2"], "--lam: `lam` must be in [0, 1], got 2.0"),
        (["--lam", "auto"], "got neither --min-benefit nor --max-gap"),
        (["--max-gap", "0.1"], "--min-benefit, --max-gap: expected only with --lam auto"),
    ],
)
def test_options_that_cannot_be_used(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--out", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "sb3_grpo"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*words, *command(tmp_path)], capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model.zip: saved") == 1
    model = GroupRobustPPO.load(tmp_path / "model.zip", device="cpu")
    assert (model.num_timesteps, model.n_envs) == (4 * ROLLOUT, 8)
    assert model.group_state is not None
    assert model.group_state["performance"]["by_env"].shape[1] == 16
