"""What is compared: policies that differ in what they see and how groups enter their advantage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hospital_gym.clinical.icu_observation import Observe


@dataclass(frozen=True)
class Training:
    """
    How a policy is trained. The values were chosen on validation patients.

    Deaths are presented as often as survivals, and a false alarm costs more in proportion, so that the trade-off stays: both
    outcomes then contribute about as much to the gradient, which is less noisy. The policy begins with waiting, at odds of 20
    to 1, or it would never see a second day. The training is stopped early: of the policies after every ``every`` updates the
    one with the largest mean return on validation patients is kept.

    :param updates: number of updates
    :param every: updates between two looks at the validation patients
    :param n_envs: patients at a time
    :param n_steps: hours of each for an update
    :param learning_rate: of Adam, falling linearly to 0
    :param batch_size: decisions in a minibatch
    :param n_epochs: passes over the decisions of an update
    :param gae_lambda: factor of generalised advantage estimation; returns are not discounted
    :param weight_decay: of Adam, decoupled
    :param waiting: logit of waiting against escalating at the beginning
    :param sampling: how often stays are presented, see :class:`~hospital_gym.clinical.early_warning_env.EarlyWarningEnv`
    """

    updates: int = 40
    every: int = 4
    n_envs: int = 128
    n_steps: int = 48
    learning_rate: float = 1e-3
    batch_size: int = 1024
    n_epochs: int = 4
    gae_lambda: float = 0.98
    weight_decay: float = 0.1
    waiting: float = 3.0
    sampling: str = "outcome"


@dataclass(frozen=True)
class Policy:
    """
    A policy trained with :class:`~sb3_grpo.group_relative_ppo.GroupRelativePPO`. Plain values only, so that it can be sent to
    another process and written down.

    :param label: what it is called in tables
    :param observe: what it sees, see :class:`~hospital_gym.clinical.early_warning_env.EarlyWarningEnv`
    :param window: how many hours of it
    :param extractor: ``"module:class"`` of the features extractor; None: everything side by side (``CombinedExtractor``)
    :param extractor_arguments: its keyword arguments
    :param actor: widths of the hidden layers of the actor
    :param critic: widths of the hidden layers of the critic
    :param arguments: keyword arguments of the algorithm
    """

    label: str
    observe: Observe = "summary"
    window: int = 1
    extractor: str | None = None
    extractor_arguments: Mapping[str, Any] = field(default_factory=dict)
    actor: tuple[int, ...] = (32,)
    critic: tuple[int, ...] = (64,)
    arguments: Mapping[str, Any] = field(default_factory=dict)


_FUSION: Final = "sb3_grpo.time_series:TimeSeriesFusionExtractor"
_SMALL: Final = {"encoder": "cnn", "modality_dim": 16, "static_dim": 8}
_INDIVIDUAL: Final = {"alpha_2": 0.0, "alpha_3": 0.0}

POLICIES: Final[dict[str, Policy]] = {
    "summary": Policy("policy on summaries"),
    "summary-individual": Policy("policy on summaries, individual advantage alone", arguments=_INDIVIDUAL),
    "flat": Policy("policy on 48 hours, flat network", observe="window", window=48),
    "fusion": Policy(
        "policy on 48 hours, fusion network", observe="window", window=48, extractor=_FUSION, extractor_arguments=_SMALL
    ),
}
"""Every policy by the name it has on the command line."""

FLOORS: Final = {"logistic": "logistic regression", "boosting": "gradient boosting"}
"""What a policy should not be worse than."""

COMMITTEE: Final = "-committee"
"""What follows a policy's name where the scores of all its trainings are averaged."""
