"""What an evaluation holds: for every policy what each group got in each episode, and how that was found out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from sb3_grpo.common.evaluation import EpisodeSet
from sb3_grpo.fairness.metrics import EpisodeTotals

if TYPE_CHECKING:
    from hospital_gym.scenarios import Scenario

Measure = Literal["benefit rate", "reward per exposure"]
"""What a group's rate is: the share of the ideal benefit, in [0, 1], or any reward by unit of exposure, without bounds."""

BENEFIT_RATE: Final[Measure] = "benefit rate"
REWARD_PER_EXPOSURE: Final[Measure] = "reward per exposure"

Kind = Literal["model", "rule", "function"]
"""What a policy is: a model of Stable-Baselines3, a rule of the hospitals, or any other function of observations."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One policy's E episodes.

    :param name: what tables call the policy
    :param kind: what it is
    :param algorithm: name of its class
    :param group_names: names of the G groups
    :param totals: (E, G) each. With patient records demand, benefit and counted patients. Without them what the algorithm
        learns from: ``demand`` is the exposure, ``benefit`` the reward, which may be negative, ``counted`` the number of
        steps with exposure; whether two policies meet the same demand is then up to the environment
    :param costs: (E,) cost of each episode in units of benefit; zeros without patient records
    :param returns: (E,) sum of each episode's rewards
    :param decisions: (E,) number of steps of each episode
    :param invalid_actions: (E,) number of steps whose action was invalid
    :param episodes: the same episodes with a row for every patient; None where the environment keeps no records
    """

    name: str
    kind: Kind
    algorithm: str
    group_names: tuple[str, ...]
    totals: EpisodeTotals
    costs: npt.NDArray[np.float64]
    returns: npt.NDArray[np.float64]
    decisions: npt.NDArray[np.int64]
    invalid_actions: npt.NDArray[np.int64]
    episodes: EpisodeSet | None


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Consecutive episodes of one policy, evaluated in parts.

    :param parts: the parts in order of their episodes, at least one
    """
    sets = [part.episodes for part in parts if part.episodes is not None]
    episodes = None
    if len(sets) == len(parts):
        names = sets[0].utilisation
        episodes = EpisodeSet(
            records=np.concatenate([each.records for each in sets]),
            costs=np.concatenate([each.costs for each in sets]),
            decisions=np.concatenate([each.decisions for each in sets]),
            invalid_actions=np.concatenate([each.invalid_actions for each in sets]),
            group_names=sets[0].group_names,
            utilisation={name: np.concatenate([each.utilisation[name] for each in sets]) for name in names},
        )
    return replace(
        parts[0],
        totals=EpisodeTotals(*(np.concatenate(rows) for rows in zip(*(part.totals for part in parts), strict=True))),
        costs=np.concatenate([part.costs for part in parts]),
        returns=np.concatenate([part.returns for part in parts]),
        decisions=np.concatenate([part.decisions for part in parts]),
        invalid_actions=np.concatenate([part.invalid_actions for part in parts]),
        episodes=episodes,
    )


@dataclass(frozen=True)
class Precision:
    """How narrow intervals were asked to be, and how narrow they became.

    :param asked: half-width that was asked for
    :param reached: half of the widest interval of a group rate; NaN if there is no interval at all
    :param policy: whose interval that is
    :param group: of which group
    :param looks: how often the width was looked at
    :param most_episodes: number of episodes at which the evaluation would have stopped anyway
    """

    asked: float
    reached: float
    policy: str
    group: str
    looks: int
    most_episodes: int

    @property
    def met(self) -> bool:
        """Whether the widest interval is as narrow as asked."""
        return bool(self.reached <= self.asked)

    def statement(self, n_episodes: int) -> str:
        """What was reached, and what looking more than once does to the intervals.

        :param n_episodes: number of episodes played
        """
        widest = f"{self.group} under {self.policy}" if self.group else "no group has an interval"
        reached = "not reached" if not self.met else "reached"
        text = (
            f"Half-width {self.asked:g} asked, {reached}: {self.reached:.4g} ({widest}) after {n_episodes} episodes"
            f"{'' if self.met else f', the limit being {self.most_episodes}'}."
        )
        if self.looks > 1:
            text += (
                f" The number of episodes was decided by {self.looks} looks at the width: samples with too small a spread "
                "stop first, so that the intervals hold a little less often than their level says."
            )
        return text


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Several policies on the same episodes.

    :param evaluations: one for each policy, in the order given
    :param reference: name of the policy that differences refer to; None with a single policy
    :param measure: what a group's rate is
    :param env: what was played: the environment's id, or a description
    :param seed: the user's seed
    :param episode_seed: the seed of the episodes that was derived from it
    :param deterministic: whether models took their most likely action; if not, they drew from their distribution, as trained
    :param scenario: the hospital's numbers; None where the environment is no hospital
    :param precision: what became of a wish for narrow intervals; None without one
    """

    evaluations: tuple[Evaluation, ...]
    reference: str | None
    measure: Measure
    env: str
    seed: int
    episode_seed: int
    deterministic: bool
    scenario: "Scenario | None" = None
    precision: Precision | None = None

    def __post_init__(self) -> None:
        names = self.names
        if not names or len(set(names)) != len(names):
            raise ValueError(f"evaluations: got policies {names}, expected different names, at least one")
        if self.reference is not None and self.reference not in names:
            raise ValueError(f"reference: got {self.reference!r}, expected one of {names}")
        first = self.evaluations[0]
        for other in self.evaluations:
            if other.group_names != first.group_names or len(other.decisions) != len(first.decisions):
                raise ValueError(
                    f"evaluations: got {len(other.decisions)} episodes of the groups {other.group_names} for {other.name!r}, "
                    f"expected {len(first.decisions)} of {first.group_names} as for {first.name!r}"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the policies."""
        return tuple(evaluation.name for evaluation in self.evaluations)

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the G groups."""
        return self.evaluations[0].group_names

    @property
    def n_episodes(self) -> int:
        """Number of episodes E of every policy."""
        return len(self.evaluations[0].decisions)

    @property
    def has_records(self) -> bool:
        """Whether there is a row for every patient."""
        return all(evaluation.episodes is not None for evaluation in self.evaluations)

    def __getitem__(self, name: str) -> Evaluation:
        for evaluation in self.evaluations:
            if evaluation.name == name:
                return evaluation
        raise KeyError(f"{name!r}: the policies are {list(self.names)}")

    def totals(self, names: Sequence[str] | None = None) -> dict[str, EpisodeTotals]:
        """Totals of each policy by name, all of them by default."""
        return {name: self[name].totals for name in (self.names if names is None else names)}

    def costs(self, names: Sequence[str] | None = None) -> dict[str, npt.NDArray[np.float64]]:
        """Costs of each policy by name, all of them by default."""
        return {name: self[name].costs for name in (self.names if names is None else names)}
