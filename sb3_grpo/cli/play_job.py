"""What runs in a worker process for ``evaluate`` and ``compare``: play some episodes of an evaluation."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sb3_grpo.cli.jobs import Stopped
from sb3_grpo.cli.options import Hospital
from sb3_grpo.fairness.evaluate import play_numbers
from sb3_grpo.fairness.evaluation_data import Evaluation


@dataclass(frozen=True)
class PlayJob:
    """Play some episodes; ``run`` returns what the policy did.

    :param hospital: where to play
    :param name: what tables call the policy
    :param policy: name of a rule, or the path of a model
    :param first: number of the first episode
    :param last: number after the last one
    :param seed: seed of the episodes
    :param deterministic: whether a model takes its most likely action
    """

    hospital: Hospital
    name: str
    policy: str | Path
    first: int
    last: int
    seed: int
    deterministic: bool

    @property
    def total(self) -> int:
        """What ``report`` counts up to."""
        return self.last - self.first

    def run(self, report: Callable[[int], None], stopped: Callable[[], bool]) -> Evaluation:
        """Play.

        :param report: called with the number of finished episodes
        :param stopped: whether the user asked to stop
        :return: what the policy did
        :raises Stopped: if the user asked to stop
        """

        def progress(finished: int, total: int) -> None:
            report(finished)
            if stopped():
                raise Stopped

        numbers = range(self.first, self.last)
        return play_numbers(
            self.policy, self.name, self.hospital.make_env, numbers, self.seed, self.deterministic, progress=progress
        )
