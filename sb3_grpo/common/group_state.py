"""What the algorithm knows about its groups, from rollout to rollout."""

from typing import NamedTuple, TypedDict

import numpy as np

from sb3_grpo.common import group_performance
from sb3_grpo.common.group_buffers import GroupBufferMixin
from sb3_grpo.common.group_performance import PerformanceState
from sb3_grpo.common.objectives import GroupFacts, Objective, ObjectiveState


class GroupState(TypedDict):
    """Plain arrays: saved with the model, and SB3 alone can load it."""

    performance: PerformanceState
    objective: ObjectiveState
    coefficients: np.ndarray  # c of the objective, (G,)
    highest: np.ndarray  # (): highest performance of any group so far; NaN before any exposure


class GroupSettings(NamedTuple):
    """
    How the state follows the rollouts.

    :param objective: What the groups' performance is judged by
    :param smoothing: Share of the newest rollout in the averages, in (0, 1]
    :param shrinkage: Number of units that weigh as much as the pooled value, at least 0; not used where the objective does not
        want it
    :param scale: One unit of performance; None: the running deviation of the episodes
    :param baseline: Performance at which a group is in no need, a number or (G,); None: the pooled performance
    """

    objective: Objective
    smoothing: float
    shrinkage: float
    scale: float | None
    baseline: np.ndarray | float | None


def update_group_state(
    state: GroupState | None,
    buffer: GroupBufferMixin,
    rollout_starts: np.ndarray,
    n_groups: int,
    settings: GroupSettings,
) -> GroupState:
    """
    Performance of the groups and coefficients of the objective, from a complete rollout.

    :param state: State after the previous rollout; None at first. Not changed
    :param buffer: The rollout, with returns and advantages
    :param rollout_starts: Whether each environment began the rollout with a new episode, (N,)
    :param n_groups: Number of groups G, at least that of ``state``
    :param settings: How to follow the rollout
    :return: The new state
    """
    if state is None:
        performance: PerformanceState = group_performance.initial_performance(n_groups, len(rollout_starts))
        objective_state: ObjectiveState = {}
        highest = np.array(np.nan)
    else:
        performance, objective_state, highest = state["performance"], state["objective"], state["highest"]
        if n_groups > len(state["coefficients"]):
            performance = group_performance.grow(performance, n_groups)
    performance = group_performance.update_performance(
        group_performance.forget_unfinished(performance, rollout_starts),
        buffer.split_rewards(n_groups),
        buffer.split_exposure(n_groups),
        buffer.dones,
        settings.smoothing,
        settings.shrinkage if settings.objective.shrinks else 0.0,
    )
    facts = _facts(performance, buffer, n_groups, settings)
    coefficients, objective_state = settings.objective(performance["value"], objective_state, facts)
    return GroupState(
        performance=performance,
        objective=objective_state,
        coefficients=coefficients,
        highest=np.asarray(np.fmax(highest, np.fmax.reduce(performance["value"]))),
    )


def _facts(performance: PerformanceState, buffer: GroupBufferMixin, n_groups: int, settings: GroupSettings) -> GroupFacts:
    ids = (buffer.swap_and_flatten(buffer.group_ids) if buffer.generator_ready else buffer.group_ids).ravel()
    of_group = ids >= 0
    steps = np.bincount(ids[of_group], minlength=n_groups)
    advantages = np.bincount(ids[of_group], weights=buffer.advantages.ravel()[of_group], minlength=n_groups)
    with np.errstate(invalid="ignore"):
        mean_advantages = advantages / steps
    return GroupFacts(
        scale=settings.scale or group_performance.running_scale(performance),
        reference=group_performance.pooled_performance(performance) if settings.baseline is None else settings.baseline,
        shares=group_performance.exposure_shares(performance),
        standard_error=group_performance.standard_error(performance),
        step_shares=steps / max(steps.sum(), 1),
        mean_advantages=mean_advantages,
        present=performance["rollout_exposure"] > 0,
    )
