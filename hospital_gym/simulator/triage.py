"""The rule in force when nobody decides: triage, then first come, with a plain escalation.

It rules during the burn-in and stands in for invalid actions. ``hospital_gym.heuristics`` has the same rule as a policy on
observations; a test holds the two together.
"""

from typing import Any

import numpy as np
from numba import njit

from hospital_gym.simulator.layout import (
    ADMIT,
    ALTERNATIVE,
    CHILD,
    CRITICAL,
    N_AGES,
    N_BEDS,
    N_CLASSES,
    N_SEVERITIES,
    OVERTIME,
    SURGE_BLOCK,
    TRANSFER,
    WAIT,
)


@njit
def _admission(hospital: Any, constants: Any, mask: Any, queue: int) -> int:
    """The action that gives the head of this class a bed, or -1.

    Critical patients and children take an alternative bed at once, adults only if enough of them stay free.
    """
    if mask[ADMIT + queue]:
        return ADMIT + queue
    bed = constants.alternative[queue]
    at_once = queue % N_SEVERITIES == CRITICAL or queue // N_SEVERITIES == CHILD
    free = hospital.capacity[bed] - hospital.occupied[bed]
    if mask[ALTERNATIVE + queue] and (at_once or free > constants.overflow_reserve):
        return ALTERNATIVE + queue
    return -1


@njit
def _escalation(hospital: Any, constants: Any, mask: Any) -> int:
    """Overtime, a surge block or a transfer if enough patients wait; else waiting."""
    if mask[OVERTIME] and hospital.n_waiting >= constants.overtime_threshold:
        return OVERTIME
    for k in range(N_BEDS):
        bed = N_BEDS - 1 - k  # critical beds first
        wanting = 0
        for queue in range(N_CLASSES):
            if constants.matched[queue] == bed:
                wanting += hospital.queue_count[queue]
        if mask[SURGE_BLOCK + bed] and wanting >= constants.block_threshold[bed]:
            return SURGE_BLOCK + bed
    if hospital.n_waiting >= constants.transfer_threshold:
        for k in range(N_SEVERITIES):
            severity = N_SEVERITIES - 1 - k
            oldest, chosen = np.inf, -1
            for age in range(N_AGES):
                queue = 3 * age + severity
                if mask[TRANSFER + queue]:
                    arrival = hospital.head_arrival[queue]
                    if hospital.time - arrival > constants.target[severity] and arrival < oldest:
                        oldest, chosen = arrival, queue
            if chosen >= 0:
                return TRANSFER + chosen
    return WAIT


@njit
def triage_action(hospital: Any, constants: Any, mask: Any) -> int:
    """The most severe class first, within a severity whoever came first."""
    for k in range(N_SEVERITIES):
        severity = N_SEVERITIES - 1 - k
        oldest, chosen = np.inf, -1
        for age in range(N_AGES):
            queue = 3 * age + severity
            if hospital.queue_count[queue] == 0:
                continue
            action = _admission(hospital, constants, mask, queue)
            arrival = hospital.head_arrival[queue]
            if action >= 0 and arrival < oldest:
                oldest, chosen = arrival, action
        if chosen >= 0:
            return chosen
    return _escalation(hospital, constants, mask)
