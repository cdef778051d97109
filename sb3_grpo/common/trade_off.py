"""Which objective the arguments of the algorithm ask for, and whether they go together."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.type_aliases import Schedule

from sb3_grpo.common.checks import per_group
from sb3_grpo.common.objectives import Cvar, Gap, Objective, make_objective
from sb3_grpo.common.rate_constraints import RateConstraints
from sb3_grpo.common.schedules import lam_schedule, reaches_one


def choose_objective(
    lam: float | str | Schedule,
    min_benefit: float | Mapping[str, float] | None,
    max_gap: float | None,
    objective: str | Objective | Callable[[np.ndarray], Any],
    objective_kwargs: dict[str, Any] | None,
    max_weight: float,
    names: Sequence[str] | None,
) -> Objective:
    """
    :param lam: Trade-off, or ``"auto"``
    :param min_benefit: With ``lam="auto"``: least performance, one number or one for each group by name
    :param max_gap: With ``lam="auto"``: largest distance to the best group
    :param objective: Name, function or object
    :param objective_kwargs: Parameters of the objective
    :param max_weight: Largest ratio of a group's weight in the objective to its share
    :param names: Names of the groups, None if unknown
    :return: The objective
    :raises ValueError: If the arguments do not go together or one of them is out of range
    """
    if lam == "auto":
        if objective != "minimax":
            raise ValueError(
                f"`objective` must be left alone with lam='auto', whose targets take its place, got {objective!r}"
            )
        return RateConstraints.make(per_group("min_benefit", min_benefit, names), max_gap, objective_kwargs)
    if min_benefit is not None or max_gap is not None:
        raise ValueError(
            f"`min_benefit` and `max_gap` are targets of lam='auto', got {min_benefit!r} and {max_gap!r} with lam={lam!r}"
        )
    chosen = make_objective(objective, objective_kwargs)
    if isinstance(chosen, Cvar) and chosen.alpha * max_weight < 1 - 1e-9:
        raise ValueError(
            f"`max_weight` must be at least 1 / alpha for objective 'cvar', got {max_weight!r} and alpha={chosen.alpha!r}"
        )
    if isinstance(chosen, Gap) and not chosen.level_up_only and reaches_one(lam_schedule(lam)):
        warnings.warn(
            "Objective 'gap' with level_up_only=False at lam=1: the gap is smallest where every group fares equally badly, "
            "and the average, which speaks against that, does not count",
            stacklevel=2,
        )
    return chosen
