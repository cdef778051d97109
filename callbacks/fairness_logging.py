"""Log what each group gets while a model trains."""

import csv
from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback

from callbacks.training_groups import TrainingGroups
from sb3_grpo.common.checks import check_whole
from sb3_grpo.common.group_logging import short_names
from sb3_grpo.fairness.metrics import MIN_PATIENTS, Metrics


class FairnessLoggingCallback(BaseCallback):
    """Log metrics of each group, pooled over the newest training episodes, to SB3's logger (TensorBoard) and to a CSV file.

    ``fairness/<group>/rate`` is the benefit rate from patient records (``info["episode_records"]``), else reward per exposure
    from the groups' items in ``info``; ``fairness/<group>/n`` the number of patients (of steps with exposure) behind it.
    ``fairness/worst``, ``gap`` and ``efficiency`` follow from them, ``fairness/episodes`` counts those that have ended. A
    group without enough patients is left out, and is empty in the file.

    Training episodes are played by a policy that changes, on patients that differ from row to row: for results evaluate.

    :param csv_path: file to write a row to with every log; None: ``fairness.csv`` in the folder of SB3's logger, if it has one
    :param window: number of newest episodes that a row rests on, at least 1
    :param min_patients: groups with fewer counted patients in the window have no rate
    :param log_every: least number of time steps between two rows
    :param verbose: as for every callback of Stable-Baselines3
    :raises ValueError: if a number is too small; at the start of training if nobody names the groups
    """

    def __init__(
        self,
        csv_path: str | None = None,
        window: int = 100,
        min_patients: int = MIN_PATIENTS,
        log_every: int = 1,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        for key, number, least in (("window", window, 1), ("min_patients", min_patients, 1), ("log_every", log_every, 1)):
            check_whole(key, number, least)
        self.csv_path = csv_path
        self.window = window
        self.min_patients = min_patients
        self.log_every = log_every
        self.groups: TrainingGroups | None = None
        self._file: Path | None = None
        self._logged_at = 0
        self._logged_episodes = 0

    def _on_training_start(self) -> None:
        self.groups = TrainingGroups(self.model, self.training_env, self.window)
        self._logged_at, self._logged_episodes = self.model.num_timesteps, 0
        folder = self.logger.get_dir()
        path = self.csv_path or (None if folder is None else str(Path(folder) / "fairness.csv"))
        self._file = None if path is None else Path(path)
        if self._file is not None and not (self._file.is_file() and self.model.num_timesteps > 0):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(self._columns(self.groups.group_names))

    def _on_step(self) -> bool:
        assert self.groups is not None
        self.groups.step(self.locals["rewards"], self.locals["dones"], self.locals["infos"])
        return True

    def _on_rollout_end(self) -> None:
        self._log_groups(self.log_every)

    def _on_training_end(self) -> None:
        # RL Zoo calls this twice: the second time nothing is new
        self._log_groups(1)

    def _log_groups(self, log_every: int) -> None:
        """Log what is new, unless the last time was less than ``log_every`` time steps ago."""
        if self.groups is None or self.groups.n_finished == self._logged_episodes:
            return
        metrics = self.groups.metrics(self.min_patients)
        if metrics is None or self.num_timesteps - self._logged_at < log_every:
            return
        self._logged_at, self._logged_episodes = self.num_timesteps, self.groups.n_finished
        counted = [int(number) for number in self.groups.totals().counted.sum(axis=0)]
        for key, value in self._values(metrics, counted).items():
            if value == value:  # no NaN: a group without enough patients has no rate
                self.logger.record(f"fairness/{key}", value)
        if self._file is not None:
            cells = [self.num_timesteps, self.groups.n_finished, *_numbers(metrics), *metrics.rates, *counted]
            with self._file.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(["" if cell != cell else cell for cell in cells])

    def _values(self, metrics: Metrics, counted: list[int]) -> dict[str, float]:
        assert self.groups is not None
        worst, gap, efficiency = _numbers(metrics)
        values: dict[str, float] = {"episodes": self.groups.n_finished, "worst": worst, "gap": gap, "efficiency": efficiency}
        for name, rate, number in zip(short_names(self.groups.group_names), metrics.rates, counted, strict=True):
            values[f"{name}/rate"] = float(rate)
            values[f"{name}/n"] = number
        return values

    @staticmethod
    def _columns(group_names: tuple[str, ...]) -> list[str]:
        of_groups = [f"{name}/{what}" for what in ("rate", "n") for name in group_names]
        return ["timesteps", "episodes", "worst", "gap", "efficiency", *of_groups]


def _numbers(metrics: Metrics) -> tuple[float, float, float]:
    return metrics.worst, metrics.gap, metrics.efficiency
