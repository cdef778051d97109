"""Everything that a report says, as numbers: intervals, differences, tests, fronts and verdicts, from the sources."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from sb3_grpo.common.evaluation import derived_seed
from sb3_grpo.fairness.inference.bands import GroupBands, PairedBands, group_bands, paired_bands
from sb3_grpo.fairness.inference.max_t import band, extremes, ratio_draws
from sb3_grpo.fairness.inference.means import linearised_rates
from sb3_grpo.fairness.inference.pareto import ParetoFront, pareto_front
from sb3_grpo.fairness.inference.results import Interval
from sb3_grpo.fairness.inference.significance import adjust_p_values, cohens_dz, sign_flip_test
from sb3_grpo.fairness.metrics import MIN_PATIENTS, EpisodeTotals, FloatArray, sufficient_groups
from sb3_grpo.fairness.metrics.groups import GroupMetrics, group_metrics
from sb3_grpo.fairness.report.sources import Setting, Source

CONFIDENCE: Final = 0.95
EFFICIENCY: Final = "efficiency"


@dataclass(frozen=True)
class Tested:
    """One row of the table of tests: a policy against the reference, paired by episode.

    :param policy: name of the policy
    :param quantity: name of the group whose rate was tested, or ``"efficiency"``
    :param change: the change with its interval
    :param p_value: of the sign-flip test
    :param adjusted: the same after Holm's correction for all tests of the report
    :param effect: mean of the paired differences in their own standard deviations
    :param method: name of the test
    """

    policy: str
    quantity: str
    change: Interval
    p_value: float
    adjusted: float
    effect: Interval
    method: str


@dataclass(frozen=True, eq=False)
class PolicyFindings:
    """What was found about one policy.

    :param name: the policy
    :param bands: rates of the groups, worst, best and gap
    :param efficiency: (benefit - cost) / demand
    :param benefit_share: benefit / demand over all groups
    :param cost_share: cost / demand; NaN where costs are not known
    :param paired: differences to the reference; None for the reference itself, without one, and where the demand differs
    :param metrics: all metrics per group; None without records
    :param on_front: whether no other policy is estimated to be better in both efficiency and worst group
    :param invalid_share: share of decisions that were invalid; NaN where that is not known
    """

    name: str
    bands: GroupBands
    efficiency: Interval
    benefit_share: float
    cost_share: float
    paired: PairedBands | None
    metrics: GroupMetrics | None
    on_front: bool
    invalid_share: float


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found about all policies.

    :param setting: what they have in common
    :param group_names: names of the G groups
    :param counted: (G,) patients behind each group's rate
    :param n_episodes: number of episodes
    :param policies: by name, in the order given
    :param tests: every test of the report
    :param front: the front over efficiency and worst group
    :param confidence: confidence level of every interval
    """

    setting: Setting
    group_names: tuple[str, ...]
    counted: tuple[int, ...]
    n_episodes: int
    policies: dict[str, PolicyFindings]
    tests: tuple[Tested, ...]
    front: ParetoFront
    confidence: float

    @property
    def subject(self) -> PolicyFindings:
        """The policy that the report is about."""
        return self.policies[self.setting.subject]

    @property
    def reference(self) -> PolicyFindings | None:
        """The policy it is compared with."""
        return None if self.setting.reference is None else self.policies[self.setting.reference]


def resampler(seed: int) -> np.random.Generator:
    """A fresh source of resamples: the same for every policy, so that they share them."""
    return np.random.default_rng(derived_seed(seed, "bootstrap"))


def find(sources: Mapping[str, Source], setting: Setting, confidence: float = CONFIDENCE) -> Findings:
    """Compute what a report says.

    :param sources: the policies
    :param setting: what they have in common
    :param confidence: confidence level of every interval, in (0, 1)
    :return: the findings
    """
    policies: dict[str, PolicyFindings] = {}
    reference = None if setting.reference is None else sources[setting.reference]
    for name, source in sources.items():
        metrics = None if source.counts is None else group_metrics(source.counts, costs=source.costs, patients=source.frame)
        demand, benefit = source.totals.demand.sum(), source.totals.benefit.sum()
        share = float(benefit / demand) if demand > 0 else np.nan
        policies[name] = PolicyFindings(
            name=name,
            bands=_bands(source, setting, confidence),
            efficiency=_efficiency(source, setting.seed, confidence),
            benefit_share=share,
            cost_share=float(source.costs.sum() / demand) if source.costs is not None and demand > 0 else np.nan,
            paired=None if reference is None or source is reference else compare(source, reference, setting.seed, confidence),
            metrics=metrics,
            on_front=False,
            invalid_share=source.invalid_share,
        )
    front = pareto_front([(found.efficiency.value, found.bands.worst.value) for found in policies.values()])
    for (name, found), member in zip(policies.items(), front.members, strict=True):
        policies[name] = replace(found, on_front=bool(member))
    first = next(iter(sources.values()))
    subject = sources[setting.subject]
    return Findings(
        setting=setting,
        group_names=first.group_names,
        counted=tuple(int(n) for n in subject.totals.counted.sum(axis=0)),
        n_episodes=len(first.totals.demand),
        policies=policies,
        tests=tuple(_tests(sources, policies, setting)),
        front=front,
        confidence=confidence,
    )


def compare(source: Source, reference: Source, seed: int, confidence: float = CONFIDENCE) -> PairedBands | None:
    """Paired differences of one policy to another; None where they did not meet the same demand.

    :param source: the policy
    :param reference: the policy that is subtracted
    :param seed: seed of the resamples
    :param confidence: confidence level, in (0, 1)
    """
    new, old = source.totals, reference.totals
    if new.demand.shape != old.demand.shape or (new.demand != old.demand).any():
        return None
    rng = resampler(seed)
    return paired_bands(new, _costs(source), old, _costs(reference), source.group_names, rng, confidence=confidence)


def _costs(source: Source) -> FloatArray:
    return np.zeros(len(source.totals.demand)) if source.costs is None else source.costs


def _efficiency(source: Source, seed: int, confidence: float) -> Interval:
    net = source.totals.benefit.sum(axis=1) - _costs(source)
    draws = ratio_draws(net[:, None], source.totals.demand.sum(axis=1)[:, None], resampler(seed))
    return band(draws, np.eye(1), confidence)[0]


def _bands(source: Source, setting: Setting, confidence: float) -> GroupBands:
    """Bands of the rates; those of shares end at 0 and 1, others have no end."""
    bands = group_bands(source.totals, source.group_names, resampler(setting.seed), confidence=confidence)
    if setting.share:
        return bands
    chosen = np.flatnonzero(sufficient_groups(source.totals, MIN_PATIENTS))
    draws = ratio_draws(source.totals.benefit[:, chosen], source.totals.demand[:, chosen], resampler(setting.seed))
    rates = list(bands.rates)
    for place, rate in zip(chosen, band(draws, np.eye(len(chosen)), confidence), strict=True):
        rates[place] = rate
    worst, best, gap = extremes(draws, len(chosen), confidence)
    return replace(bands, rates=tuple(rates), worst=worst, best=best, gap=gap)


def resource_use(source: Source, seed: int, confidence: float = CONFIDENCE) -> dict[str, Interval]:
    """Share of each resource in use, weighted by time, with intervals that hold for all resources together.

    :param source: the policy
    :param seed: seed of the resamples
    :param confidence: confidence level, in (0, 1)
    :return: by resource, those of which there was any; empty where the use is not known
    """
    use = {} if source.episodes is None else source.episodes.utilisation
    known = {name: hours for name, hours in use.items() if hours[:, 1].sum() > 0}
    if not known:
        return {}
    hours = np.stack(list(known.values()), axis=1)  # (E, resources, used and available)
    draws = ratio_draws(hours[..., 0], hours[..., 1], resampler(seed))
    return dict(zip(known, band(draws, np.eye(len(known)), confidence), strict=True))


def _tests(sources: Mapping[str, Source], policies: Mapping[str, PolicyFindings], setting: Setting) -> list[Tested]:
    rows: list[Tested] = []
    for name, found in policies.items():
        if found.paired is None or setting.reference is None or len(sources[name].totals.demand) < 2:
            continue
        new, old = (_contributions(sources[label]) for label in (name, setting.reference))
        changes = dict(
            zip([*found.paired.group_names, EFFICIENCY], [*found.paired.rates, found.paired.efficiency], strict=True)
        )
        for place, (quantity, change) in enumerate(changes.items()):
            if np.isnan(change.value):
                continue
            test = sign_flip_test(new[:, place], old[:, place], resampler(setting.seed))
            effect = cohens_dz(new[:, place], old[:, place])
            rows.append(Tested(name, quantity, change, test.p_value, np.nan, effect, test.method))
    adjusted = adjust_p_values([row.p_value for row in rows], "holm")
    return [replace(row, adjusted=float(p)) for row, p in zip(rows, adjusted, strict=True)]


def _contributions(source: Source) -> FloatArray:
    """One number per episode for each group and for the efficiency: (E, G + 1); their means are the pooled rates."""
    totals = source.totals
    together = EpisodeTotals(
        totals.demand.sum(axis=1, keepdims=True),
        totals.benefit.sum(axis=1, keepdims=True) - _costs(source)[:, None],
        totals.counted.sum(axis=1, keepdims=True),
    )
    return np.concatenate([linearised_rates(totals), linearised_rates(together)], axis=1)
