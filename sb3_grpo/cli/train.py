"""``sb3-grpo train``: train one model for a hospital, in one process or, under ``torchrun``, in several that train together.

    sb3-grpo train --scenario Rural --lam 0.3
    torchrun --nproc-per-node 2 -m sb3_grpo train --scenario Rural --lam 0.3

Several processes share the hospitals of the settings and make one update together, so that the result is that of one process
but for rounding and the order of the minibatches. The same command goes on where it was interrupted.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import asdict
from types import FrameType
from typing import Any, Final

import torch as th
from rich.console import Console
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from callbacks.fairness_evaluation import FairnessEvalCallback
from callbacks.progress import ProgressCallback
from hospital_gym.groups import PUBLISHED_GROUPS
from sb3_grpo.cli.checkpoints import Checkpoint, CheckpointCallback, newest_checkpoint, restored_statistics
from sb3_grpo.cli.finished import FinishedModels
from sb3_grpo.cli.options import (
    ALL,
    Hospital,
    UsageError,
    add_hospital_options,
    make_folder,
    read_hospitals,
    whole_number,
)
from sb3_grpo.cli.output import hospital_description
from sb3_grpo.cli.target import finite_number, read_target
from sb3_grpo.cli.workers import Display
from sb3_grpo.common import data_parallel
from sb3_grpo.common.files import versions
from sb3_grpo.common.hyperparameters import TrainingSettings, load_settings
from sb3_grpo.common.schedules import lam_schedule
from sb3_grpo.common.vec_env import make_vec_env
from sb3_grpo.fairness.players import statistics_path
from sb3_grpo.training import ALGORITHMS, SMOOTHING

_NAME: Final = "model"
_ASK_TO_STOP: Final = (signal.SIGINT, signal.SIGTERM)


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "train",
        help="train one model, in one process or several",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_hospital_options(parser, default="Urban")
    parser.add_argument("--algo", choices=list(ALGORITHMS), default="group_robust_ppo", help="algorithm (%(default)s)")
    parser.add_argument("--lam", metavar="X", help="trade-off: a number in [0, 1], lin_X, or auto (default: the settings')")
    parser.add_argument("--min-benefit", nargs="+", metavar="X", help="with --lam auto: as in sb3-grpo target")
    parser.add_argument("--max-gap", type=finite_number, metavar="X", help="with --lam auto: as in sb3-grpo target")
    parser.add_argument(
        "--steps", type=whole_number(1), metavar="N", help="time steps of all hospitals together (default: the settings')"
    )
    parser.add_argument("--seed", type=whole_number(0, 2**31 - 1), default=0, metavar="N", help="seed (%(default)s)")
    parser.add_argument("--out", default="runs/train", metavar="FOLDER", help="where results go (%(default)s)")
    parser.add_argument(
        "--checkpoint-every", type=whole_number(1), default=100_000, metavar="N", help="in time steps (%(default)s)"
    )
    parser.add_argument(
        "--eval-every",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="time steps between evaluations, 0 for none (%(default)s)",
    )
    parser.add_argument(
        "--eval-episodes", type=whole_number(1), default=20, metavar="N", help="episodes of each (%(default)s)"
    )
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda or auto (%(default)s)")
    parser.add_argument(
        "--threads", type=whole_number(1), default=1, metavar="N", help="threads of PyTorch in each process (%(default)s)"
    )
    parser.add_argument("--fresh", action="store_true", help="begin anew even if there is a checkpoint or a finished model")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train.

    :param args: the options
    :return: exit status
    """
    if args.scenario == ALL:
        raise UsageError("--scenario: got 'all', expected one hospital")
    (hospital,) = read_hospitals(args)
    th.set_num_threads(args.threads)
    training = Training(hospital, args)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return training.run()
    try:
        with data_parallel.joined():
            status = training.run()
    except RuntimeError as error:  # torch.distributed has no class of its own for what another process does to this one
        print(f"sb3-grpo train: process {os.environ.get('RANK')}: {error}", file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is saved and closed. Now and then threads of gloo abort an interpreter that is shutting down
    os._exit(status)


class Training:
    """One model on its way.

    :param hospital: where to train
    :param args: the options
    :raises UsageError: if an option cannot be used
    """

    def __init__(self, hospital: Hospital, args: argparse.Namespace) -> None:
        self.hospital, self.args = hospital, args
        self.algorithm, _ = ALGORITHMS[args.algo]
        self.settings: TrainingSettings = load_settings(args.algo, hospital.env_id, self.algorithm)
        self.changes = read_lam(args)
        self.steps: int = args.steps or self.settings.n_timesteps
        self.folder = make_folder(args.out, "--out")
        self.finished = FinishedModels(self.folder)
        self.checkpoints = self.folder / "checkpoints"
        self.path = self.finished.path(_NAME)
        self.console = Console(width=None if sys.stdout.isatty() else 120, quiet=int(os.environ.get("RANK", "0")) > 0)
        self._stop_status = 0
        self._began, self._before = time.perf_counter(), 0.0

    @property
    def record(self) -> dict[str, Any]:
        """Everything that the model depends on."""
        described = {
            "hospital": hospital_description(self.hospital),
            "algorithm": self.args.algo,
            "steps": self.steps,
            "seed": self.args.seed,
            "hyperparameters": asdict(self.settings) | {"changes": self.changes},
            "versions": versions(),
        }
        return json.loads(json.dumps(described))

    @property
    def seconds(self) -> float:
        """Seconds of training, those before an interruption included."""
        return self._before + time.perf_counter() - self._began

    def run(self) -> int:
        """Train, save, say so.

        :return: exit status
        """
        # What is on disk is what the first process finds there: it may write before the others have looked
        if data_parallel.of_all(not self.args.fresh and self.finished.has(_NAME, self.record))[0]:
            self._say(f"{self.path}: finished before with these settings")
            return 0
        checkpoint = self._checkpoint()
        env = self._make_env(checkpoint)
        model = self._make_model(env, checkpoint)
        handlers = {number: signal.signal(number, self._ask_to_stop) for number in _ASK_TO_STOP}
        checkpoints = CheckpointCallback(self.checkpoints, self.record, self.args.checkpoint_every, lambda: self.seconds)
        try:
            self._learn(model, checkpoints)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        stopped = max(data_parallel.of_all(self._stop_status))
        if stopped:
            checkpoints.write()
            self._say(f"Interrupted after {model.num_timesteps:,} time steps. The same command goes on from there.")
        elif data_parallel.rank() == 0:
            self._save(model)
        env.close()
        return stopped

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop_status:
            raise KeyboardInterrupt
        self._stop_status = 128 + number

    def _checkpoint(self) -> Checkpoint | None:
        if self.args.fresh and data_parallel.rank() == 0:
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        checkpoint = data_parallel.of_all(newest_checkpoint(self.checkpoints))[0]
        if checkpoint is not None and checkpoint.settings != self.record:
            raise UsageError(
                f"--out: {checkpoint.folder} was trained with other settings, expected the same, another folder or --fresh"
            )
        if checkpoint is not None:
            self._before = checkpoint.seconds
            self._say(f"{checkpoint.folder}: goes on from there")
        return checkpoint

    def _make_env(self, checkpoint: Checkpoint | None) -> VecEnv:
        processes, settings = data_parallel.n_processes(), self.settings
        if settings.n_envs % processes:
            raise UsageError(
                f"torchrun: got {processes} processes, expected a number that divides the {settings.n_envs} hospitals"
            )
        kwargs = self.hospital.env_kwargs | {"episode_offset": 0 if checkpoint is None else checkpoint.episodes}
        env = make_vec_env(self.hospital.env_id, settings.n_envs // processes, env_kwargs=kwargs)
        if settings.normalize is not None:
            env = VecNormalize(env, gamma=settings.algorithm.get("gamma", 0.99), **settings.normalize)
        restored_statistics(checkpoint, env)
        return env

    def _make_model(self, env: VecEnv, checkpoint: Checkpoint | None) -> Any:
        if checkpoint is None:
            arguments = {**self.settings.arguments(), **self.changes}
            return self.algorithm(self.settings.policy, env, seed=self.args.seed, device=self.args.device, **arguments)
        model = self.algorithm.load(checkpoint.model, env, device=self.args.device)
        # The seed gives the hospitals their patients again, of later episodes; actions and minibatches are to be new ones
        set_random_seed((self.args.seed + model.num_timesteps + data_parallel.rank()) % 2**31)
        return model

    def _learn(self, model: Any, checkpoints: CheckpointCallback) -> None:
        first = data_parallel.rank() == 0
        if first:
            model.set_logger(configure(str(self.folder / f"log-{model.num_timesteps}"), ["csv"]))
        display = Display(self.console)
        display.start()
        display.begin(0, f"{self.hospital.name}: train {self.args.algo}", self.steps)
        progress = ProgressCallback(
            lambda steps: display.advance(0, min(steps, self.steps)), lambda: self._stop_status > 0, max(1, self.steps // 200)
        )
        callbacks: list[BaseCallback] = [*self.settings.make_callbacks(), progress, checkpoints]
        if first and self.args.eval_every:
            callbacks.append(self._evaluation(model))
        try:
            # SB3 adds what is done to what is wanted
            model.learn(
                max(0, self.steps - model.num_timesteps),
                callback=CallbackList(callbacks),
                reset_num_timesteps=model.num_timesteps == 0,
            )
        finally:
            display.stop()
            if first:
                model.logger.close()

    def _evaluation(self, model: Any) -> BaseCallback:
        n_side_by_side = min(8, self.args.eval_episodes)
        return FairnessEvalCallback(
            DummyVecEnv([self.hospital.make_env] * n_side_by_side),
            n_eval_episodes=self.args.eval_episodes,
            eval_freq=max(1, self.args.eval_every // self.settings.n_envs),
            log_path=str(self.folder / f"log-{model.num_timesteps}"),
            best_model_save_path=str(self.folder / "best"),
            seed=self.args.seed,
        )

    def _save(self, model: Any) -> None:
        unfinished = self.path.with_suffix(".unfinished.zip")
        model.save(unfinished)
        normalize = model.get_vec_normalize_env()
        if normalize is not None and normalize.norm_obs:
            normalize.save(str(statistics_path(self.path)))
        os.replace(unfinished, self.path)
        self.finished.add(_NAME, self.record, self.seconds)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        rates = zip(model.group_names, model.group_state["performance"]["value"], strict=True)
        self._say(f"Performance in training: {', '.join(f'{name} {rate:.3f}' for name, rate in rates)}")
        self._say(
            f"{self.path}: saved after {self.seconds:.0f} s, {model.num_timesteps / self.seconds:,.0f} time steps a second"
        )
        self._say(f"What it does to each group: sb3-grpo evaluate {self.path} --scenario {self.args.scenario}")

    def _say(self, text: str) -> None:
        """Print one line that stays one line: paths are to be copied."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def read_lam(args: argparse.Namespace) -> dict[str, Any]:
    """The algorithm's arguments that ``--lam``, ``--min-benefit`` and ``--max-gap`` mean.

    :raises UsageError: if they mean nothing
    """
    if args.lam == "auto":
        target = read_target(args.min_benefit, args.max_gap, PUBLISHED_GROUPS)
        return {"lam": "auto", "min_benefit": target.min_benefit, "max_gap": target.max_gap, "smoothing": SMOOTHING}
    if args.min_benefit is not None or args.max_gap is not None:
        raise UsageError("--min-benefit, --max-gap: expected only with --lam auto")
    if args.lam is None:
        return {}
    try:
        lam_schedule(args.lam)
    except ValueError as error:
        raise UsageError(f"--lam: {error}, or 'auto'") from None
    return {"lam": args.lam}
