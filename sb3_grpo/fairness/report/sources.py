"""What a report is made from, whatever it was given: one source for each policy, all in the same form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Union

import numpy as np

from sb3_grpo.common.evaluation import EpisodeSet
from sb3_grpo.fairness.accumulate import Counts, accumulate
from sb3_grpo.fairness.evaluation_data import BENEFIT_RATE, Evaluation, EvaluationSet
from sb3_grpo.fairness.metrics import EpisodeTotals, FloatArray
from sb3_grpo.fairness.metrics.definitions import DEFINITIONS
from sb3_grpo.fairness.records import to_frame

if TYPE_CHECKING:
    import pandas as pd

    from hospital_gym.scenarios import Scenario

Evaluated = Union[EpisodeSet, Evaluation, "pd.DataFrame", Counts]
"""What a policy did: episodes with records, an evaluation, a table of patients (:mod:`sb3_grpo.fairness.records`), or what was
counted of one that is too long to hold (:mod:`sb3_grpo.fairness.accumulate`)."""

RATES: Final = tuple(name for name, definition in DEFINITIONS.items() if definition.unit == "share" and definition.better == 1)
"""Metrics that a report can be about: shares of which more is better."""


@dataclass(frozen=True, eq=False)
class Source:
    """One policy.

    :param name: what the report calls it
    :param group_names: names of the G groups
    :param totals: (E, G) each: the rate of a group is the sum of ``benefit`` over that of ``demand``
    :param costs: (E,) in units of benefit; None where costs are not known
    :param counts: what was counted of the patients; None without records
    :param frame: the patients; None without records
    :param episodes: the episodes; None where there are none of the simulator's
    :param invalid_share: share of decisions that were invalid; NaN where that is not known
    """

    name: str
    group_names: tuple[str, ...]
    totals: EpisodeTotals
    costs: FloatArray | None
    counts: Counts | None
    frame: "pd.DataFrame | None"
    episodes: EpisodeSet | None
    invalid_share: float


@dataclass(frozen=True, eq=False)
class Setting:
    """What all policies of a report have in common.

    :param subject: name of the policy that the report is about
    :param reference: name of the policy it is compared with; None for none
    :param rate: what a group's rate is called
    :param meaning: what it means, a sentence
    :param share: whether the rate is a share, in [0, 1]
    :param by: columns that define the groups
    :param facts: where the numbers come from, by name, for the notes
    :param scenario: the hospital's numbers; None where there is none
    :param seed: seed of the resamples
    """

    subject: str
    reference: str | None
    rate: str
    meaning: str
    share: bool
    by: tuple[str, ...]
    facts: dict[str, str]
    scenario: "Scenario | None"
    seed: int


_MEANINGS: Final = {
    "benefit_rate": (
        "benefit rate",
        "The benefit rate is the share of the ideal benefit (immediate treatment in the right bed) that a group received, "
        "weighted by need.",
    ),
    "treated": ("share treated", "The share treated is the share of a group's patients whose treatment began."),
    "in_time": ("share in time", "The share in time is the share of a group's patients treated within their target wait."),
}
_REWARD: Final = (
    "reward per exposure",
    "The rate of a group is its reward divided by its exposure. It has no bounds and no unit of its own.",
)


def read(
    evaluations: EvaluationSet | Mapping[str, Evaluated],
    reference: str | None,
    subject: str | None,
    scenario: "Scenario | None",
    by: str | Sequence[str],
    rate: str,
    seed: int,
) -> tuple[dict[str, Source], Setting]:
    """Bring what a report was given into one form.

    :param evaluations: an evaluation of several policies, or what each policy did, by name
    :param reference: policy that differences refer to; default: that of the evaluation, else the first of several
    :param subject: policy that the report is about; default: the first that is not the reference
    :param scenario: the hospital's numbers; default: those of the evaluation
    :param by: columns of the patient table that define the groups
    :param rate: metric that the report is about, one of :data:`RATES`
    :param seed: seed of the resamples, >= 0
    :return: the sources by name, in the order given, and what they have in common
    :raises ValueError: naming the argument, its value and what is accepted
    """
    attributes = (by,) if isinstance(by, str) else tuple(by)
    if rate not in RATES:
        raise ValueError(f"rate: got {rate!r}, expected one of {RATES}")
    facts: dict[str, str] = {}
    name, meaning = _MEANINGS.get(rate, (DEFINITIONS[rate].label, f"The rate: {DEFINITIONS[rate].label}."))
    given: dict[str, Evaluated]
    share = True
    if isinstance(evaluations, EvaluationSet):
        given = {evaluation.name: evaluation for evaluation in evaluations.evaluations}
        reference = evaluations.reference if reference is None else reference
        scenario = evaluations.scenario if scenario is None else scenario
        share = evaluations.measure == BENEFIT_RATE
        facts = _facts(evaluations)
        if not share:
            name, meaning = _REWARD
    else:
        given = dict(evaluations)
    if not given:
        raise ValueError("evaluations: got no policy, expected at least one")
    sources = {str(label): _source(str(label), what, attributes, rate, share) for label, what in given.items()}
    _check_groups(sources)
    subject, reference = _roles(list(sources), subject, reference)
    return sources, Setting(subject, reference, name, meaning, share, attributes, facts, scenario, seed)


def read_one(name: str, what: Evaluated, setting: Setting, rate: str) -> Source:
    """One more source for a report, with the groups and the rate of the others.

    :param name: what to call it
    :param what: what a policy did
    :param setting: what the policies of the report have in common
    :param rate: the metric that the report is about
    """
    return _source(name, what, setting.by, rate, setting.share)


def _roles(names: list[str], subject: str | None, reference: str | None) -> tuple[str, str | None]:
    for key, name in (("reference", reference), ("subject", subject)):
        if name is not None and name not in names:
            raise ValueError(f"{key}: got {name!r}, expected one of {names}")
    if reference is None and len(names) > 1:
        reference = next(name for name in names if name != subject)
    if subject is None:
        subject = next((name for name in names if name != reference), names[0])
    return subject, None if subject == reference else reference


def _facts(evaluations: EvaluationSet) -> dict[str, str]:
    facts = {
        "environment": evaluations.env,
        "seed": str(evaluations.seed),
        "seed of the episodes": str(evaluations.episode_seed),
        "actions of models": "the most likely" if evaluations.deterministic else "drawn from the policy's distribution",
    }
    if evaluations.precision is not None:
        facts["precision"] = evaluations.precision.statement(evaluations.n_episodes)
    return facts


def _source(name: str, what: Evaluated, by: tuple[str, ...], rate: str, share: bool) -> Source:
    episodes = what.episodes if isinstance(what, Evaluation) else what if isinstance(what, EpisodeSet) else None
    if isinstance(what, Evaluation) and (episodes is None or not share):
        if by != ("group",):
            raise ValueError(f"by: got {by}, expected ('group',): {name!r} has no patient records to group otherwise")
        return Source(name, what.group_names, what.totals, what.costs, None, None, None, _invalid(what))
    frame = None
    if isinstance(what, Counts):
        counts = what
    else:
        data: Any = what if episodes is None else episodes
        if episodes is None and not hasattr(data, "columns"):
            raise ValueError(
                f"evaluations[{name!r}]: got {type(what).__name__}, expected Evaluation, EpisodeSet, DataFrame or Counts"
            )
        frame = to_frame(data)
        counts = accumulate(frame, by)
    lacking = [fact for fact in DEFINITIONS[rate].needs if fact in counts.missing]
    if lacking:
        raise ValueError(
            f"rate: got {rate!r}, expected one that the records of {name!r} allow: they lack {counts.missing[lacking[0]]}"
        )
    numbers = sorted(set(counts.sums.index.get_level_values("episode"))) if episodes is None else range(len(episodes.costs))
    return Source(
        name=name,
        group_names=counts.groups,
        totals=_totals(counts, numbers, rate),
        costs=None if episodes is None else episodes.costs,
        counts=counts,
        frame=frame,
        episodes=episodes,
        invalid_share=float("nan") if episodes is None else _invalid(episodes),
    )


def _totals(counts: Counts, episodes: Sequence[int], rate: str) -> EpisodeTotals:
    """Sums by episode and group of what the rate divides, and of the patients."""
    import pandas as pd

    definition = DEFINITIONS[rate]
    cells = pd.MultiIndex.from_product([list(episodes), list(counts.groups)])
    sums = counts.sums.groupby(level=["episode", "group"]).sum().reindex(cells, fill_value=0.0)
    shape = (len(episodes), len(counts.groups))

    def total(fact: str) -> FloatArray:
        return sums[fact].to_numpy(dtype=np.float64).reshape(shape)

    patients = total(definition.patients).astype(np.int64)
    return EpisodeTotals(demand=total(definition.bottom), benefit=total(definition.top), counted=patients)


def _invalid(played: Evaluation | EpisodeSet) -> float:
    return float(played.invalid_actions.sum() / max(int(played.decisions.sum()), 1))


def _check_groups(sources: Mapping[str, Source]) -> None:
    first = next(iter(sources.values()))
    for source in sources.values():
        if source.group_names != first.group_names or len(source.totals.demand) != len(first.totals.demand):
            raise ValueError(
                f"evaluations[{source.name!r}]: got {len(source.totals.demand)} episodes of the groups {source.group_names}, "
                f"expected {len(first.totals.demand)} of {first.group_names} as for {first.name!r}"
            )
