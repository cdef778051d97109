"""What is compared: plain classifiers as floors, and policies that differ in how cases are weighted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Literal["logistic", "boosting", "policy"]


@dataclass(frozen=True)
class Method:
    """
    How answers are learned. Holds plain values only, so that it can be sent to another process and written down.

    :param label: what it is called in tables
    :param kind: ``"logistic"`` and ``"boosting"`` are classifiers, ``"policy"`` a policy
    :param algorithm: class of the policy's algorithm: ``"PPO"``, ``"GroupRobustPPO"`` or ``"FairGRPO"``
    :param arguments: keyword arguments of the algorithm; ``latent_groups`` those of
        :class:`~sb3_grpo.fair_grpo.latent_cases.LatentCases`
    :param answers: answers to each case that are drawn and compared, R; 1 where nothing is compared
    :param sampling: how often each case is presented; None for what is asked for all methods
    """

    label: str
    kind: Kind = "policy"
    algorithm: str = "FairGRPO"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    answers: int = 8
    sampling: str | None = None


@dataclass(frozen=True)
class Training:
    """
    How much every policy is trained; the same for all of them.

    :param updates: number of updates
    :param decisions: answers collected for each update
    :param sampling: how often each case is presented, see :class:`~hospital_gym.clinical.diagnosis_env.DiagnosisEnv`
    :param wrong_reward: reward of a wrong answer
    :param learning_rate: of Adam
    :param batch_size: answers in a minibatch
    :param n_epochs: passes over the answers of an update
    :param net_arch: widths of the hidden layers
    """

    updates: int = 30
    decisions: int = 1024
    sampling: str = "uniform"
    wrong_reward: float = 0.01
    learning_rate: float = 3e-4
    batch_size: int = 256
    n_epochs: int = 4
    net_arch: tuple[int, ...] = (64, 64)


METHODS: Final[dict[str, Method]] = {
    "logistic": Method("logistic regression", "logistic"),
    "boosting": Method("gradient boosting", "boosting"),
    "ppo": Method("PPO", algorithm="PPO", answers=1),
    "group-robust-ppo": Method("GroupRobustPPO, lam 0.3", algorithm="GroupRobustPPO", arguments={"lam": 0.3}, answers=1),
    "grpo": Method("GRPO", arguments={"weighting": None}),
    "dr-grpo": Method("Dr.GRPO", arguments={"weighting": None, "advantage": "dr_grpo"}),
    "rloo": Method("RLOO", arguments={"weighting": None, "advantage": "rloo"}),
    "grpo-dro": Method("GRPO, group DRO", arguments={"weighting": "group_dro"}),
    "grpo-resampling": Method("GRPO, resampled", arguments={"weighting": None}, sampling="group-label"),
    "fair-grpo-published": Method("FairGRPO, published", arguments={"weighting": "published"}),
    "fair-grpo": Method("FairGRPO, corrected", arguments={"weighting": "corrected"}),
    "fair-grpo-latent": Method("FairGRPO, label-free", arguments={"weighting": "corrected", "latent_groups": {}}),
}
"""Every method by the name it has on the command line."""

FLOORS: Final = ("logistic", "boosting")
"""What a policy should not be worse than."""
