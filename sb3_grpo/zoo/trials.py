"""What a trial in a hospital is judged by: the worst-off group on validation episodes, among policies efficient enough."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import optuna
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from callbacks.fairness_evaluation import FairnessEvalCallback
from sb3_grpo.fairness.metrics import Metrics

LEAST_SHARE: Final = 0.98
"""Share of the reference's efficiency that a policy must keep."""

REFERENCE: Final = "c-mu-tuned"
"""The most efficient of the rules in use, its thresholds tuned for efficiency on validation episodes."""


@dataclass(frozen=True)
class Goal:
    """What a search makes large, and what it must keep.

    :param maximise: ``"worst"``: the benefit rate of the worst-off group; ``"efficiency"``: efficiency, with no condition
    :param share: share of the reference's efficiency that is asked for
    :param reference: a rule's name, or the path of a saved model
    """

    maximise: Literal["worst", "efficiency"] = "worst"
    share: float = LEAST_SHARE
    reference: str = REFERENCE

    def value(self, worst: float, efficiency: float, floor: float) -> float:
        """A trial's value: the rate of the worst-off group, in [0, 1], if the efficiency is at least ``floor``; else by how
        much it misses the floor, which is negative. So whatever keeps the condition is better than whatever does not, and
        of two that do not the one that misses it by less (Deb, An efficient constraint handling method for genetic
        algorithms, 2000).

        :param worst: benefit rate of the worst-off group
        :param efficiency: (benefit - cost) / demand
        :param floor: least efficiency: ``share`` of the reference's on the same episodes
        """
        if self.maximise == "efficiency":
            return efficiency
        return worst if efficiency >= floor else efficiency - floor


class TrialEvaluation(FairnessEvalCallback):
    """Evaluates a trial several times, so that one that promises little can be pruned, and at the end.

    :param trial: the trial
    :param goal: what counts
    :param floor: least efficiency
    :param eval_env: the hospitals to evaluate in
    :param n_eval_episodes: number of validation episodes, the same for every trial
    :param eval_freq: calls of the callback between evaluations
    :param most: largest number of evaluations before the last one
    :param log_path: folder for ``evaluations.npz``, and for the best model
    """

    def __init__(
        self,
        trial: optuna.Trial,
        goal: Goal,
        floor: float,
        eval_env: VecEnv,
        n_eval_episodes: int,
        eval_freq: int,
        most: int,
        log_path: str | None = None,
    ) -> None:
        super().__init__(
            eval_env,
            n_eval_episodes=n_eval_episodes,
            eval_freq=eval_freq,
            log_path=log_path,
            best_model_save_path=log_path,
            verbose=0,
        )
        self.trial, self.goal, self.efficiency_floor, self.most = trial, goal, floor, most
        self.is_pruned = False
        self._n_reported = 0

    def _on_step(self) -> bool:
        if self._n_reported >= self.most or self.n_calls % self.eval_freq != 0:
            return True
        go_on = super()._on_step()
        self._n_reported += 1
        self.trial.report(self._value(self.last_metrics), self._n_reported)
        self.is_pruned = self.trial.should_prune()
        return go_on and not self.is_pruned

    def _metrics(self, evaluation: Any) -> Metrics:
        self.last_metrics = super()._metrics(evaluation)
        return self.last_metrics

    def _value(self, metrics: Metrics) -> float:
        return self.goal.value(metrics.worst, metrics.efficiency, self.efficiency_floor)

    def final_value(self, model: BaseAlgorithm) -> float:
        """Value of the trained model, of which what it rests on is kept with the trial.

        :param model: the model at the end of training
        :raises ValueError: if no group has enough patients
        """
        evaluation = self._play(model)
        metrics = self._metrics(evaluation)
        value = self._value(metrics)
        if value != value:
            raise ValueError(f"--eval-episodes: got {self.n_eval_episodes}, expected more: no group has enough patients")
        found = {"worst": metrics.worst, "gap": metrics.gap, "efficiency": metrics.efficiency, "floor": self.efficiency_floor}
        for key, number in found.items():
            self.trial.set_user_attr(key, round(float(number), 6))
        rates = zip(evaluation.group_names, metrics.rates, strict=True)
        self.trial.set_user_attr("rates", {name: round(float(rate), 6) for name, rate in rates})
        self.trial.set_user_attr("timesteps", model.num_timesteps)
        return value
