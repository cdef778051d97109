"""What models trained for a target reach: results, sentences and table rows of ``sb3-grpo target``."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from sb3_grpo.common.evaluation import EpisodeSet
from sb3_grpo.common.rate_constraints import RateConstraints
from sb3_grpo.fairness.inference import Estimate, bootstrap_estimates
from sb3_grpo.fairness.metrics import FloatArray, sufficient_groups
from sb3_grpo.group_robust_ppo import GroupRobustPPO

HEADER: Final = ("model", "lam", "group", "performance", "target", "verdict", "benefit rate")
"""Names of the table's columns."""


class Target(NamedTuple):
    """What is promised.

    :param min_benefit: least performance of each group by name; None: no such target
    :param max_gap: largest distance of a group's performance to the best group's; None: no such target
    """

    min_benefit: dict[str, float] | None
    max_gap: float | None

    def of(self, performance: FloatArray) -> FloatArray:
        """The least performance of each group, the higher one if both are promised.

        :param performance: (G, ...), in the order of the names; NaN: insufficient
        :return: of the same shape
        """
        targets = np.full(performance.shape, -np.inf)
        if self.min_benefit is not None:
            targets = np.maximum(targets.T, list(self.min_benefit.values())).T
        if self.max_gap is not None:
            targets = np.maximum(targets, np.fmax.reduce(performance, axis=0) - self.max_gap)
        return targets

    def __str__(self) -> str:
        parts = []
        if self.min_benefit is not None:
            usual = Counter(self.min_benefit.values()).most_common(1)[0][0]
            others = [f"{name} at least {least:g}" for name, least in self.min_benefit.items() if least != usual]
            parts.append(", ".join([f"every group at least {usual:g}", *others]))
        if self.max_gap is not None:
            parts.append(f"no group more than {self.max_gap:g} below the best")
        return " and ".join(parts)


class GroupResult(NamedTuple):
    """One group under one model.

    :param performance: benefit less the group's share of the cost, per demand
    :param target: what it should be at least
    :param margin: performance - target
    :param rate: benefit per demand
    :param infeasible: whether training took the target for infeasible
    """

    performance: Estimate
    target: float
    margin: Estimate
    rate: Estimate
    infeasible: bool

    @property
    def verdict(self) -> str:
        """Whether the target was met; an interval that reaches it does not say that it was missed."""
        if np.isnan(self.margin.value):
            return "insufficient"
        if self.margin.value >= 0:
            return "met"
        if np.isnan(self.margin.high):
            return "missed, no interval"
        said = "missed within its interval" if self.margin.high >= 0 else "MISSED"
        return f"{said}, infeasible" if self.infeasible else said


class ModelResult(NamedTuple):
    """One trained model.

    :param label: what the table calls it
    :param lam: lam at the end of training
    :param steady_lam: lam at the end of training without what answers to the newest rollouts (the integral part alone); None
        for a model with another kind of lam
    :param groups: one per group
    :param efficiency: all benefit less all cost, per demand
    """

    label: str
    lam: float
    steady_lam: float | None
    groups: tuple[GroupResult, ...]
    efficiency: Estimate


def model_result(
    model: GroupRobustPPO,
    label: str,
    episodes: EpisodeSet,
    cost_shares: FloatArray,
    target: Target,
    rng: np.random.Generator,
) -> ModelResult:
    """What a model reaches in episodes that it did not train on.

    :param model: the model
    :param label: what the table calls it
    :param episodes: what happened
    :param cost_shares: share of the cost that each group bears, (G,), sum 1
    :param target: what was promised
    :param rng: source of the resamples
    :return: the result; intervals resample whole episodes
    """
    totals = episodes.totals()
    known = sufficient_groups(totals)

    def statistic(weights: FloatArray) -> FloatArray:
        demand, benefit, cost = weights @ totals.demand, weights @ totals.benefit, weights @ episodes.costs
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(known, benefit / demand, np.nan).T
            performance = np.where(known, (benefit - np.outer(cost, cost_shares)) / demand, np.nan).T
        efficiency = (benefit.sum(axis=1) - cost) / demand.sum(axis=1)
        margin = performance - target.of(performance)
        return np.concatenate([performance, rate, margin, efficiency[None]])

    estimates = bootstrap_estimates(statistic, len(episodes.costs), rng)
    performances, rates, margins = (estimates[k * len(known) : (k + 1) * len(known)] for k in range(3))
    objective, state = model._objective, model.group_state
    infeasible, steady_lam = np.zeros(len(known), dtype=bool), None
    if isinstance(objective, RateConstraints) and state is not None:
        infeasible = objective.infeasible(state["objective"])
        steady = float(state["objective"]["integral"].sum())
        steady_lam = steady / (1 + steady)
    groups = tuple(
        GroupResult(performance, performance.value - margin.value, margin, rate, bool(stuck))
        for performance, rate, margin, stuck in zip(performances, rates, margins, infeasible, strict=True)
    )
    return ModelResult(label, model.current_lam(), steady_lam, groups, estimates[-1])


def findings(results: Sequence[ModelResult], names: Sequence[str]) -> list[str]:
    """What the table says, in sentences.

    :param results: the models
    :param names: names of the groups
    """
    trained = [result for result in results if result.steady_lam is not None]
    all_groups = [group for result in trained for group in result.groups if not np.isnan(group.margin.value)]
    met = sum(group.margin.value >= 0 for group in all_groups)
    missed = sum(group.margin.high < 0 for group in all_groups)
    efficiencies = ", ".join(f"{result.label}: {_estimate(result.efficiency)}" for result in results)
    lines = [
        f"Of {len(all_groups)} targets {met} are met, {len(all_groups) - met - missed} are missed by less than the interval "
        f"tells apart, and {missed} are missed. Efficiency, all benefit less all cost per demand: {efficiencies}."
    ]
    for result in trained:
        stuck = [name for name, group in zip(names, result.groups, strict=True) if group.infeasible]
        if stuck:
            lines.append(
                f"{result.label}: INFEASIBLE, as far as training can tell, for {', '.join(stuck)}: at the largest lam they "
                "came no nearer to their target. Lower --min-benefit or raise --max-gap."
            )
    return lines


def notes(n_episodes: int) -> list[str]:
    """How to read the table.

    :param n_episodes: number of evaluation episodes
    """
    return [
        "Performance: benefit less the group's share of the cost, per demand; the target is about it, as in training. Benefit "
        "rate: without the cost.",
        "lam: at the end of training; in brackets its steady part, without the answer to the newest rollouts.",
        f"In brackets 95 % intervals (bootstrap of {n_episodes} whole episodes that no training has seen; each for itself). "
        "The models draw their actions, as in training.",
    ]


def markdown(results: Sequence[ModelResult], names: Sequence[str], n_episodes: int) -> str:
    """The table and what it says, in Markdown.

    :param results: the models
    :param names: names of the groups
    :param n_episodes: number of evaluation episodes
    """
    lines = [f"| {' | '.join(row)} |" for row in (HEADER, *rows(results, names))]
    lines.insert(1, "|---" * len(HEADER) + "|")
    sentences = [*findings(results, names), " ".join(notes(n_episodes))]
    return "\n".join([*lines, "", "\n\n".join(sentences), ""])


def rows(results: Sequence[ModelResult], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The table's rows, one for each model and group, with the columns of :data:`HEADER`.

    :param results: the models
    :param names: names of the groups
    """
    for result in results:
        steady = "" if result.steady_lam is None else f" ({result.steady_lam:.2f})"
        first = result.label, f"{result.lam:.2f}{steady}"
        for name, group in zip(names, result.groups, strict=True):
            target = "" if np.isnan(group.target) else f"{group.target:.3f}"
            yield (*first, name, _estimate(group.performance), target, group.verdict, _estimate(group.rate))
            first = "", ""


def _estimate(estimate: Estimate) -> str:
    if np.isnan(estimate.value):
        return "insufficient"
    if np.isnan(estimate.low):
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def plain(result: ModelResult, names: Sequence[str]) -> dict[str, Any]:
    """A result as JSON can hold it; a number that does not exist is None.

    :param result: one model
    :param names: names of the groups
    """
    groups = {
        name: {
            "performance": _limits(group.performance),
            "target": None if np.isnan(group.target) else group.target,
            "margin": _limits(group.margin),
            "benefit_rate": _limits(group.rate),
            "verdict": group.verdict,
            "infeasible": group.infeasible,
        }
        for name, group in zip(names, result.groups, strict=True)
    }
    efficiency = _limits(result.efficiency)
    return {
        "model": result.label,
        "lam": result.lam,
        "steady_lam": result.steady_lam,
        "groups": groups,
        "efficiency": efficiency,
    }


def _limits(estimate: Estimate) -> dict[str, float | None]:
    limits = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {key: None if np.isnan(value) else value for key, value in limits.items()}
