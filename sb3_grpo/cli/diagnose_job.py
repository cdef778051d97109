"""What ``diagnose`` runs in a worker process: one training, whose answers are kept as soon as it is finished."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hospital_gym.clinical.case_table import CaseTable
from sb3_grpo.cli.jobs import Stopped
from sb3_grpo.diagnosis.cross_validation import FoldTask, save_answers


@dataclass(frozen=True)
class DiagnoseJob:
    """Train on a fold's training cases and answer the others; ``run`` returns the seconds it took.

    :param task: the training
    :param table: all cases
    :param folder: where the answers are kept
    """

    task: FoldTask
    table: CaseTable
    folder: Path

    @property
    def total(self) -> int:
        """What ``report`` counts up to."""
        return self.task.updates

    def run(self, report: Callable[[int], None], stopped: Callable[[], bool]) -> float:
        """Train, answer, keep.

        :param report: called with the number of updates done
        :param stopped: whether the user asked to stop
        :return: seconds
        :raises Stopped: if the user asked to stop
        """
        began = time.perf_counter()
        answers, chosen = self.task.run(self.table, report, stopped)
        if stopped():
            raise Stopped
        save_answers(self.folder, self.task, self.table, answers, chosen)
        return time.perf_counter() - began
