"""Evaluate each group while a model trains, and keep the model that serves the worst-off group best."""

import os
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize, sync_envs_normalization, unwrap_vec_normalize

from callbacks.best_model import BestModel
from sb3_grpo.common.checks import check_whole
from sb3_grpo.common.evaluation import derived_seed
from sb3_grpo.common.group_logging import short_names
from sb3_grpo.fairness.evaluate import evaluate_policies
from sb3_grpo.fairness.evaluation_data import Evaluation
from sb3_grpo.fairness.metrics import MIN_PATIENTS, Metrics, policy_metrics
from sb3_grpo.fairness.players import statistics_path


class FairnessEvalCallback(EvalCallback):
    """``EvalCallback`` that evaluates each group, always on the same episodes, which training and reports never use.

    It logs what ``EvalCallback`` logs and ``eval/worst``, ``eval/gap``, ``eval/efficiency``, ``eval/<group>/rate``,
    ``eval/<group>/n``, and ``eval/levelling_best``: the best group's rate less the reference's best rate, or less the highest
    so far without a reference. It is negative where the best group has lost.

    The best model has the highest worst rate among those that are efficient enough; it is saved as ``best_model.zip``, with
    the statistics of ``VecNormalize`` beside it if observations are normalised. ``evaluations.npz`` holds for K evaluations of
    E episodes SB3's ``timesteps`` (K,), ``results`` and ``ep_lengths`` (K, E), and ``group_names`` (G,), ``group_rates`` and
    ``group_counted`` (K, G), ``worst``, ``gap``, ``efficiency``, ``levelling_best`` and ``is_best`` (K,), ``demand`` and
    ``benefit`` (K, E, G), ``costs`` (K, E). Choosing the best of many evaluations flatters its numbers: report others.

    Evaluation draws nothing from global generators, so that training goes the same way with and without it. Masks and
    recurrent states are handled.

    :param eval_env: environment, VecEnv or the id of a registered environment; None makes environments like the training ones
    :param callback_on_new_best: callback to trigger when there is a new best model
    :param callback_after_eval: callback to trigger after every evaluation
    :param n_eval_episodes: number of episodes
    :param eval_freq: evaluate every ``eval_freq`` calls of the callback (steps of the vectorised environment); <= 0: never
    :param log_path: folder for ``evaluations.npz``
    :param best_model_save_path: folder for ``best_model.zip``
    :param deterministic: whether the model takes its most likely action; by default it draws, as in training
    :param verbose: 1: say what was found, through SB3's logger
    :param seed: seed from which that of the episodes is derived
    :param min_efficiency: least efficiency of a best model
    :param min_efficiency_share: least share of the reference's efficiency; needs ``reference``
    :param reference: name of a rule or path of a saved model, evaluated once on the same episodes
    :param patience: stop training after so many evaluations without a new best; None: never
    :param min_patients: groups with fewer counted patients (steps with exposure) have no rate; where none has one, there is no
        best model, and a warning says so
    :param n_envs: number of environments side by side, where they are made here
    :raises ValueError: if an argument is not what it must be; when training begins if environments cannot be made
    """

    def __init__(
        self,
        eval_env: gym.Env | VecEnv | str | None = None,
        callback_on_new_best: BaseCallback | None = None,
        callback_after_eval: BaseCallback | None = None,
        n_eval_episodes: int = 20,
        eval_freq: int = 10000,
        log_path: str | None = None,
        best_model_save_path: str | None = None,
        deterministic: bool = False,
        verbose: int = 1,
        seed: int = 0,
        min_efficiency: float | None = None,
        min_efficiency_share: float | None = None,
        reference: str | None = None,
        patience: int | None = None,
        min_patients: int = MIN_PATIENTS,
        n_envs: int = 8,
    ) -> None:
        if isinstance(eval_freq, bool) or not isinstance(eval_freq, int | np.integer):
            raise ValueError(f"eval_freq: got {eval_freq!r}, expected a whole number, or one <= 0 never to evaluate")
        given = isinstance(eval_env, gym.Env | VecEnv)
        super().__init__(
            eval_env if isinstance(eval_env, gym.Env | VecEnv) else DummyVecEnv([_NotYet]),
            callback_on_new_best=callback_on_new_best,
            callback_after_eval=callback_after_eval,
            n_eval_episodes=n_eval_episodes,
            eval_freq=eval_freq,
            log_path=log_path,
            best_model_save_path=best_model_save_path,
            deterministic=deterministic,
            verbose=verbose,
            warn=False,
        )
        for key, number, least in (
            ("n_eval_episodes", n_eval_episodes, 1),
            ("min_patients", min_patients, 1),
            ("n_envs", n_envs, 1),
        ):
            check_whole(key, number, least)
        self.own_env: str | None = None if given or eval_env is None else str(eval_env)
        self.makes_env = not given
        self.seed, self.min_patients, self.n_envs, self.reference = seed, min_patients, n_envs, reference
        self.episode_seed = derived_seed(seed, "validation")
        self.best = BestModel(min_efficiency, min_efficiency_share, patience)
        if min_efficiency_share is not None and reference is None:
            raise ValueError(
                f"min_efficiency_share: got {min_efficiency_share!r} without reference, expected reference= the name of a "
                "rule or the path of a model, whose efficiency is meant"
            )
        self.reference_metrics: Metrics | None = None
        self.arrays: dict[str, list[Any]] = {}
        self._highest = -np.inf
        self._warned_of_floor = self._warned_of_groups = False

    def _init_callback(self) -> None:
        if self.makes_env:
            self.eval_env = _made_here(self.training_env, self.own_env, min(self.n_envs, self.n_eval_episodes))
        with warnings.catch_warnings():  # the parent expects the same kind of VecEnv, which does not matter here
            warnings.filterwarnings("ignore", "Training and eval env are not of the same type")
            super()._init_callback()
        if self.reference is not None and self.reference_metrics is None:
            self.reference_metrics = self._metrics(self._play(self.reference))
            self.best.set_reference(self.reference_metrics.efficiency)

    def _on_training_end(self) -> None:
        # RL Zoo calls this twice
        if self.makes_env:
            self.eval_env.close()
        if self.best.n_evaluations and not self.best.found and not self._warned_of_floor:
            self._warned_of_floor = True
            warnings.warn(
                "FairnessEvalCallback: no evaluated model had an efficiency of at least "
                f"{self.best.floor():.4g}, so none was saved as the best",
                stacklevel=2,
            )

    def _on_step(self) -> bool:
        if self.eval_freq <= 0 or self.n_calls % self.eval_freq != 0:
            return True
        self._sync_statistics()
        evaluation = self._play(self.model)
        metrics = self._metrics(evaluation)
        self._highest = max(self._highest, float(np.fmax.reduce(metrics.rates)))
        held_against = self._highest if self.reference_metrics is None else np.fmax.reduce(self.reference_metrics.rates)
        levelling = float(np.fmax.reduce(metrics.rates) - held_against)
        is_best = self.best.update(metrics.worst, metrics.efficiency)
        self.last_mean_reward = float(evaluation.returns.mean())
        self.best_mean_reward = max(self.best_mean_reward, self.last_mean_reward)
        if self.log_path is not None:
            self._append(evaluation, metrics, levelling, is_best)
            self._write(evaluation.group_names)
        self._record(evaluation, metrics, levelling)

        go_on = True
        if is_best:
            self._save_best()
            if self.callback_on_new_best is not None:
                go_on = self.callback_on_new_best.on_step()
        if self.callback is not None:
            go_on = go_on and self._on_event()
        if go_on and self.best.is_exhausted:
            self._say(f"Stopping training: {self.best.patience} evaluations without a new best model")
            go_on = False
        return go_on

    def _sync_statistics(self) -> None:
        """As ``EvalCallback``. Environments without ``VecNormalize`` need nothing: the model's own statistics are used."""
        if self.model.get_vec_normalize_env() is None or unwrap_vec_normalize(self.eval_env) is None:
            return
        try:
            sync_envs_normalization(self.training_env, self.eval_env)
        except (AssertionError, AttributeError) as error:
            raise ValueError(
                "eval_env: got other wrappers than around the training environments, expected the same ones, or none: then "
                "observations are normalised as in training"
            ) from error

    def _play(self, policy: Any) -> Evaluation:
        return evaluate_policies(
            policy,
            self.eval_env,
            self.n_eval_episodes,
            self.seed,
            self.episode_seed,
            deterministic=self.deterministic,
            names="policy",
        )["policy"]

    def _metrics(self, evaluation: Evaluation) -> Metrics:
        metrics = policy_metrics(evaluation.totals, evaluation.costs, self.min_patients)
        if np.isnan(metrics.worst) and not self._warned_of_groups:
            self._warned_of_groups = True
            warnings.warn(
                f"FairnessEvalCallback: none of the groups {evaluation.group_names} has min_patients={self.min_patients} "
                f"counted patients in n_eval_episodes={self.n_eval_episodes}: no worst group, so no best model; evaluate more",
                stacklevel=2,
            )
        return metrics

    def _record(self, evaluation: Evaluation, metrics: Metrics, levelling: float) -> None:
        values = {
            "mean_reward": self.last_mean_reward,
            "mean_ep_length": float(evaluation.decisions.mean()),
            "worst": metrics.worst,
            "gap": metrics.gap,
            "efficiency": metrics.efficiency,
            "levelling_best": levelling,
            "best_worst": self.best.worst,
        }
        counted = evaluation.totals.counted.sum(axis=0)
        for name, rate, number in zip(short_names(evaluation.group_names), metrics.rates, counted, strict=True):
            values[f"{name}/rate"], values[f"{name}/n"] = float(rate), int(number)
        for key, value in values.items():
            if np.isfinite(value):
                self.logger.record(f"eval/{key}", value)
        self._say(
            f"Eval num_timesteps={self.num_timesteps}, worst={metrics.worst:.3f}, gap={metrics.gap:.3f}, "
            f"efficiency={metrics.efficiency:.3f}, episode_reward={self.last_mean_reward:.2f}"
        )
        # Dump, so that results stand at the right timestep
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)

    def _append(self, evaluation: Evaluation, metrics: Metrics, levelling: float, is_best: bool) -> None:
        self.evaluations_timesteps.append(self.num_timesteps)
        self.evaluations_results.append(evaluation.returns.tolist())
        self.evaluations_length.append(evaluation.decisions.tolist())
        row = {
            "group_rates": metrics.rates,
            "group_counted": evaluation.totals.counted.sum(axis=0),
            "worst": metrics.worst,
            "gap": metrics.gap,
            "efficiency": metrics.efficiency,
            "levelling_best": levelling,
            "is_best": is_best,
            "demand": evaluation.totals.demand,
            "benefit": evaluation.totals.benefit,
            "costs": evaluation.costs,
        }
        for key, value in row.items():
            self.arrays.setdefault(key, []).append(value)

    def _write(self, group_names: tuple[str, ...]) -> None:
        assert self.log_path is not None
        arrays: dict[str, Any] = {
            "timesteps": self.evaluations_timesteps,
            "results": self.evaluations_results,
            "ep_lengths": self.evaluations_length,
            "group_names": np.array(group_names),
            **{key: np.array(values) for key, values in self.arrays.items()},
        }
        np.savez(self.log_path, **arrays)

    def _save_best(self) -> None:
        self._say(f"New best model: worst={self.best.worst:.3f}")
        if self.best_model_save_path is None:
            return
        path = Path(self.best_model_save_path) / "best_model.zip"
        self.model.save(path)
        statistics: VecNormalize | None = self.model.get_vec_normalize_env()
        if statistics is not None and statistics.norm_obs:
            statistics.save(os.fspath(statistics_path(path)))

    def _say(self, text: str) -> None:
        if self.verbose >= 1:
            self.logger.info(text)


class _NotYet(gym.Env):
    """Stands where environments are made when training begins."""

    observation_space = gym.spaces.Discrete(1)
    action_space = gym.spaces.Discrete(1)


def _made_here(training_env: VecEnv, name: str | None, n_envs: int) -> VecEnv:
    """Environments by id, or like those of a training run.

    :raises ValueError: if the id is unknown, or the training environments cannot be made again
    """
    if name is not None:
        try:
            return DummyVecEnv([lambda: gym.make(name, disable_env_checker=True)] * n_envs)
        except gym.error.Error as error:
            raise ValueError(f"eval_env: got {name!r}, expected the id of a registered environment: {error}") from None
    spec = training_env.get_attr("spec", indices=[0])[0]
    if spec is None:
        raise ValueError("eval_env: got None, but the training environments are not registered; pass eval_env=")
    # SB3's Monitor writes files; everything else must be made again, or the episodes would not be those of training
    wrappers = tuple(wrapper for wrapper in spec.additional_wrappers if wrapper.name != "Monitor")
    lost = [wrapper.name for wrapper in wrappers if wrapper.kwargs is None]
    if lost:
        raise ValueError(f"eval_env: got None, but the wrappers {lost} cannot be made again; pass eval_env=")
    spec.additional_wrappers = wrappers
    spec.disable_env_checker = True
    return DummyVecEnv([lambda: gym.make(spec)] * n_envs)
