"""What ``warn`` runs in a worker process: one training, which is kept as soon as it is finished."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hospital_gym.clinical.early_warning import EscalationRewards, prepare_watch
from hospital_gym.clinical.icu_stays import SPLITS, IcuStays
from hospital_gym.clinical.stays import load_stays
from sb3_grpo.cli.jobs import Stopped
from sb3_grpo.early_warning.floors import BOOSTINGS, STRENGTHS, risks
from sb3_grpo.early_warning.methods import FLOORS, POLICIES, Training
from sb3_grpo.early_warning.results import HOURS
from sb3_grpo.early_warning.training import Trained, read_trained, save_trained, train_policy


@lru_cache(maxsize=2)
def fingerprint(stays: IcuStays) -> str:
    """A hash of everything that a training sees of stays. Computed once: stays do not change."""
    digest = hashlib.sha256()
    for array in (stays.values, stays.offsets, stays.static, stays.died, stays.stay_ids.astype(str)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class PolicyJob:
    """Train a policy and ask it about validation and test patients.

    :param name: of the policy
    :param training: how it is trained
    :param seed: of the training
    :param data: data directory, or ``"synthetic"``
    :param folder: where the result is kept
    """

    name: str
    training: Training
    seed: int
    data: str | None
    folder: Path

    @property
    def path(self) -> Path:
        """Where its result is kept."""
        return self.folder / f"{self.name}-seed{self.seed}.npz"

    @property
    def label(self) -> str:
        """What it is called while it runs."""
        return f"{POLICIES[self.name].label}, seed {self.seed}"

    @property
    def total(self) -> int:
        """What ``report`` counts up to."""
        return self.training.updates

    def settings(self, stays: IcuStays) -> dict[str, Any]:
        """Everything that its result depends on."""
        parts = {"policy": asdict(POLICIES[self.name]), "training": asdict(self.training), "seed": self.seed}
        return {**parts, "rewards": asdict(EscalationRewards()), "stays": fingerprint(stays)}

    def found(self, stays: IcuStays) -> Trained | None:
        """What exactly this training found earlier; None if there is nothing."""
        return read_trained(self.path, self.settings(stays))

    def run(self, report: Callable[[int], None], stopped: Callable[[], bool]) -> None:
        """Train, ask, keep.

        :param report: called with the number of updates done
        :param stopped: whether the user asked to stop
        :raises Stopped: if the user asked to stop
        """
        stays = load_stays(self.data)
        trained = train_policy(POLICIES[self.name], self.training, stays, self.seed, report, stopped)
        if trained is None:
            raise Stopped
        save_trained(self.path, self.settings(stays), trained)


@dataclass(frozen=True)
class FloorJob:
    """Fit a classifier at every hour.

    :param name: ``"logistic"`` or ``"boosting"``
    :param data: data directory, or ``"synthetic"``
    :param folder: where the result is kept
    """

    name: str
    data: str | None
    folder: Path

    @property
    def path(self) -> Path:
        """Where its result is kept."""
        return self.folder / f"{self.name}.npz"

    @property
    def label(self) -> str:
        """What it is called while it runs."""
        return FLOORS[self.name]

    @property
    def total(self) -> int:
        """What ``report`` counts up to."""
        return len(HOURS)

    def settings(self, stays: IcuStays) -> dict[str, Any]:
        """Everything that its result depends on."""
        tried = {"logistic": STRENGTHS, "boosting": BOOSTINGS}[self.name]
        return {"floor": self.name, "tried": tried, "hours": HOURS, "stays": fingerprint(stays)}

    def found(self, stays: IcuStays) -> Trained | None:
        """What exactly this fit found earlier; None if there is nothing."""
        return read_trained(self.path, self.settings(stays))

    def run(self, report: Callable[[int], None], stopped: Callable[[], bool]) -> None:
        """Fit, ask, keep.

        :param report: called with the number of hours done
        :param stopped: whether the user asked to stop
        :raises Stopped: if the user asked to stop
        """

        def reported(done: int) -> None:
            report(done)
            if stopped():
                raise Stopped

        stays = load_stays(self.data)
        watches = {part: prepare_watch(stays, part, window=1, observe="summary") for part in SPLITS}
        validation, test = risks(self.name, watches, HOURS, reported)
        save_trained(self.path, self.settings(stays), Trained(validation, test, {}, ()))
