"""RL Zoo's experiment for the algorithms and hospitals here: how environments are made, evaluated and searched in."""

import json
import os
import platform
import sys
from functools import partial
from typing import Any

import gymnasium as gym
import optuna
from rl_zoo3.callbacks import SaveVecNormalizeCallback
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.utils import get_callback_list
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from callbacks.fairness_evaluation import FairnessEvalCallback
from sb3_grpo.cli.options import UsageError
from sb3_grpo.common.evaluation import derived_seed
from sb3_grpo.common.vec_env import make_vec_env
from sb3_grpo.fairness.evaluate import evaluate_policies
from sb3_grpo.fairness.metrics import policy_metrics
from sb3_grpo.fairness.players import statistics_path
from sb3_grpo.zoo import search, studies
from sb3_grpo.zoo.algorithms import ALGORITHMS, Algorithm
from sb3_grpo.zoo.episode_log import EpisodeLog
from sb3_grpo.zoo.trials import Goal, TrialEvaluation

_MASKS = "sb3_grpo.zoo.masks.MasksInObservations"
_VALIDATION_SEED = 0  # every run and trial is evaluated on the same episodes
_MOST_SIDE_BY_SIDE = 32
_SEED_STRIDE = 1000  # environment i of a trial has its seed + i


class GroupExperiment(ExperimentManager):
    """RL Zoo's ``ExperimentManager``, with three differences for hospitals: they are stepped in one compiled call,
    evaluated by group on validation episodes, and searched for the settings that serve the worst-off group best.

    In all environments, algorithms that need masks are given them when they are evaluated and played, and a search that was
    killed goes on.

    :param args: as RL Zoo's, as all that follow
    :param algo: name of the algorithm
    :param env_id: id of the environment
    :param goal: what a search in a hospital makes large
    :param command: the command that runs, to be kept with a search
    :raises UsageError: if a search is wanted for an algorithm that has none
    """

    def __init__(self, *args: Any, goal: Goal, command: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.goal, self.command = goal, command
        self.algorithm: Algorithm | None = ALGORITHMS.get(self.algo)
        if self.optimize_hyperparameters and self.algorithm is not None and self.algorithm.of_cases:
            raise UsageError(
                f"--algo: got {self.algo!r} with -optimize, which evaluates by steps of single environments; expected another "
                "algorithm, or sb3-grpo diagnose --tune"
            )
        self.env_id: str = self.env_name.gym_id
        self.is_hospital = "hospital_gym.hospital_env:" in self.entry_point(self.env_id)
        self._made: list[VecEnv] = []
        self._floor: float | None = None
        self._settings: dict[str, Any] = {}

    def setup_experiment(self) -> tuple[BaseAlgorithm, dict[str, Any]] | None:
        """See the parent.

        :raises UsageError: if a setting cannot be used
        """
        try:
            return super().setup_experiment()
        except (AssertionError, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            for envs in self._made:
                envs.close()
            raise UsageError(f"{self.config}: {' '.join(str(error).split())}") from error

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """See the parent. What is saved says also that observations carry masks, so that RL Zoo's ``enjoy`` knows."""
        settings, saved = super().read_hyperparameters()
        self._settings = {**saved, "n_timesteps": self.n_timesteps if self.n_timesteps > 0 else saved["n_timesteps"]}
        if self.algorithm is not None and self.algorithm.needs_masks:
            for each in (settings, saved):
                own = each.get("vec_env_wrapper") or []
                wrappers = list(own) if isinstance(own, list) else [own]
                each["vec_env_wrapper"] = wrappers if _MASKS in wrappers else [*wrappers, _MASKS]
        return settings, saved

    # -- Environments ------------------------------------------------------------------------------------------------

    def create_log_folder(self) -> None:
        """See the parent. A search has no model to put into one."""
        if not self.optimize_hyperparameters:
            super().create_log_folder()

    def create_envs(self, n_envs: int, eval_env: bool = False, no_log: bool = False) -> VecEnv:
        """See the parent. Hospitals are stepped in one compiled call unless something needs them one by one."""
        replaced = self.algorithm is not None and self.algorithm.of_cases  # by the algorithm's own: nothing to log
        no_log = no_log or self.optimize_hyperparameters or replaced
        single = self.env_wrapper is not None or not set(self.monitor_kwargs) <= {"info_keywords"}
        if not self.is_hospital or single or self.vec_env_class is not DummyVecEnv:
            return super().create_envs(n_envs, eval_env, no_log)
        kwargs = self.eval_env_kwargs if eval_env else self.env_kwargs
        folder = None if eval_env or no_log else self.save_path
        usual = self.vec_env_class
        self.vec_env_class = partial(self._compiled, env_kwargs=kwargs, folder=folder)  # type: ignore[assignment]
        try:
            return super().create_envs(n_envs, eval_env, no_log)
        finally:
            self.vec_env_class = usual

    def _compiled(self, functions: list[Any], env_kwargs: dict[str, Any], folder: str | None) -> VecEnv:
        """What takes the place of ``DummyVecEnv(functions)``: of the functions only their number is needed."""
        envs = make_vec_env(self.env_id, len(functions), env_kwargs=env_kwargs)
        if folder is None:
            return envs
        self._made.append(EpisodeLog(envs, folder, self.env_id, **self.monitor_kwargs))
        return self._made[-1]

    def _single_env(self) -> gym.Env:
        env = gym.make(self.env_id, disable_env_checker=True, **self.eval_env_kwargs)
        return env if self.env_wrapper is None else self.env_wrapper(env)

    def _evaluation_envs(self) -> VecEnv:
        return DummyVecEnv([self._single_env] * min(_MOST_SIDE_BY_SIDE, self.n_eval_episodes))

    # -- Training ----------------------------------------------------------------------------------------------------

    def create_callbacks(self) -> None:
        """See the parent. Hospitals are evaluated by group; ``best_model.zip`` is the best for the worst-off group."""
        eval_freq = self.eval_freq
        if self.is_hospital:
            self.eval_freq = -1
        super().create_callbacks()
        if not self.is_hospital or eval_freq <= 0 or self.optimize_hyperparameters:
            return
        self.eval_freq = max(eval_freq // self.n_envs, 1)
        self.callbacks.append(
            FairnessEvalCallback(
                self._evaluation_envs(),
                callback_on_new_best=SaveVecNormalizeCallback(save_freq=1, save_path=self.params_path),
                n_eval_episodes=self.n_eval_episodes,
                eval_freq=self.eval_freq,
                log_path=self.save_path,
                best_model_save_path=self.save_path,
                seed=_VALIDATION_SEED,
            )
        )

    def save_trained_model(self, model: BaseAlgorithm) -> None:
        """See the parent. Statistics of observations are also put where ``sb3-grpo evaluate`` looks for them."""
        super().save_trained_model(model)
        normalize = model.get_vec_normalize_env()
        if normalize is not None and normalize.norm_obs:
            normalize.save(str(statistics_path(studies.model_file(self.save_path, self.env_name))))

    # -- Search ------------------------------------------------------------------------------------------------------

    @property
    def floor(self) -> float:
        """Least efficiency that the goal asks for, of the reference on the validation episodes.

        :raises UsageError: if the reference cannot be played
        """
        if self._floor is None:
            try:
                found = evaluate_policies(
                    self.goal.reference,
                    self._single_env,
                    self.n_eval_episodes,
                    _VALIDATION_SEED,
                    derived_seed(_VALIDATION_SEED, "validation"),
                    n_envs=_MOST_SIDE_BY_SIDE,
                    names="reference",
                )["reference"]
            except ValueError as error:
                raise UsageError(f"--reference: {error}") from None
            self._floor = self.goal.share * policy_metrics(found.totals, found.costs).efficiency
        return self._floor

    def objective(self, trial: optuna.Trial) -> float:
        """Train with the settings of a trial and evaluate: see :class:`~sb3_grpo.zoo.trials.Goal` for hospitals; the mean
        reward elsewhere.

        :param trial: the trial
        :return: its value
        :raises optuna.TrialPruned: if it promises little, or its settings cannot be used
        """
        if not self.is_hospital or self.algorithm is None:
            return super().objective(trial)
        robust = self.algorithm.is_robust
        chosen = search.arguments_of(search.suggest(trial, self.n_envs, robust, not robust, self.n_timesteps))
        seed = (self.seed + _SEED_STRIDE * trial.number) % 2**31
        trial.set_user_attr("seed", seed)
        trial.set_user_attr("process", f"{platform.node()}:{os.getpid()}")
        evaluation = self._trial_evaluation(trial)
        envs = self.create_envs(self.n_envs, no_log=True)
        try:
            arguments = {**self._hyperparams, **chosen}
            model = self.algorithm.model(
                env=envs, seed=seed, device=self.device, verbose=self.verbose if self.verbose > 1 else 0, **arguments
            )
            callbacks = [*get_callback_list({"callback": self.specified_callbacks}), evaluation]
            model.learn(self.n_timesteps, callback=callbacks)
            if not evaluation.is_pruned:
                return evaluation.final_value(model)
        except (AssertionError, ValueError) as error:  # settings may not fit each other, or make NaN
            trial.set_user_attr("error", str(error))
        finally:
            envs.close()
            evaluation.eval_env.close()
        raise optuna.TrialPruned

    def _trial_evaluation(self, trial: optuna.Trial) -> TrialEvaluation:
        path = None if self.optimization_log_path is None else f"{self.optimization_log_path}/trial_{trial.number}"
        return TrialEvaluation(
            trial,
            self.goal,
            self.floor,
            self._evaluation_envs(),
            n_eval_episodes=self.n_eval_episodes,
            eval_freq=max(1, self.n_timesteps // self.n_evaluations // self.n_envs),
            most=self.n_evaluations - 1,
            log_path=path,
        )

    def hyperparameters_optimization(self) -> None:
        """Search. The study is kept, so that the same command goes on with it and several processes share it.

        :raises UsageError: if it cannot be kept there, or was begun with other settings
        """
        if self.is_hospital and self.verbose > 0:
            print_line(f"Least efficiency: {self.floor:.4f}, {self.goal.share:g} of that of {self.goal.reference}")
        sampler, pruner = self._create_sampler(self.sampler), self._create_pruner(self.pruner)
        study = studies.open_study(self.storage, self.study_name, sampler, pruner)
        if study.get_trials(deepcopy=False):  # what the seed proposes first has been tried
            sampler.reseed_rng()
        studies.describe(study, json.loads(json.dumps(self._description(), default=str)), self.command)
        report = studies.Report(study, self.log_folder, self.algo, self.env_name)
        try:
            studies.run(study, self.objective, self.n_trials, self.max_total_trials, self.n_jobs)
        except KeyboardInterrupt:
            print_line("Interrupted. The same command goes on from there.")
        for line in report.write(figures=not self.no_optim_plots):
            print_line(line)

    def _description(self) -> dict[str, Any]:
        """What every trial of a study has in common."""
        common: dict[str, Any] = {"algo": self.algo, "env": self.env_id, "settings": self._settings}
        if self.is_hospital:
            common["goal"] = {**vars(self.goal), "floor": round(self.floor, 6)}
            common["validation"] = {"seed": _VALIDATION_SEED, "episodes": self.n_eval_episodes}
        return common


def print_line(text: str) -> None:
    """Say something among what RL Zoo prints."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
