"""What can be done now, and doing it."""

import math
from typing import Any

import numpy as np
from numba import njit

from hospital_gym.simulator.dynamics import decay_exponent, decide, queue_class
from hospital_gym.simulator.layout import (
    ADMIT,
    ALTERNATIVE,
    CRITICAL,
    CRITICAL_BED,
    IN_BED,
    N_BEDS,
    N_CLASSES,
    OVERTIME,
    SURGE_BLOCK,
    TRANSFER,
    TRANSFERRED,
    WAIT,
)
from hospital_gym.simulator.queues import add_discharge

_SAME_INSTANT = 1e-9  # hours; a hold of the whole limit may fall short of it by rounding


@njit
def nurses_present(hospital: Any, constants: Any, nurses: Any, skill: int) -> float:
    """Nurses of one skill now: rostered and present, with the overtime crew (critical skill) and those of open blocks."""
    present = float(nurses[hospital.shift, skill])
    if hospital.block_open[skill] == 1:  # bed types and skills are numbered alike
        present += constants.block_care[skill]
    if skill == CRITICAL_BED and hospital.overtime_until > hospital.time:
        present += constants.overtime_nurses
    return present


@njit
def staff_margin(hospital: Any, constants: Any, nurses: Any, stretch: float) -> tuple[float, float, float]:
    """Nurses to spare in three nested sums, by the least skill counted.

    Skills are nested, so a roster suffices exactly if the critical need fits the critical nurses, critical and paediatric
    need fit those two skills, and all need fits all nurses; the entry of a skill belongs to the sum from it upwards.
    """
    need_factor = constants.shift_need[(hospital.shift + 2) % 3]
    from_critical = 0.0 + (stretch * nurses_present(hospital, constants, nurses, 2) - need_factor * hospital.care[2])
    from_child = from_critical + (stretch * nurses_present(hospital, constants, nurses, 1) - need_factor * hospital.care[1])
    of_all = from_child + (stretch * nurses_present(hospital, constants, nurses, 0) - need_factor * hospital.care[0])
    return of_all, from_child, from_critical


@njit
def _staffed(constants: Any, need_factor: float, queue: int, margin: Any) -> bool:
    """Whether the nurses suffice for one more patient of the class: it enters every sum down from its own skill."""
    need = need_factor * constants.care[queue]
    for skill in range(constants.skill[queue] + 1):
        if margin[skill] + _SAME_INSTANT < need:
            return False
    return True


@njit
def fill_mask(hospital: Any, constants: Any, nurses: Any, mask: Any) -> bool:
    """Write which actions are valid now; returns whether any but waiting is.

    Also forgets holds (``hold_since``) of bed types that nobody who matches waits for any more.
    """
    mask[:] = False
    if hospital.n_waiting == 0:
        hospital.hold_since[:] = np.nan
        mask[WAIT] = True
        return False
    need_factor = constants.shift_need[(hospital.shift + 2) % 3]
    margin = staff_margin(hospital, constants, nurses, 1.0)
    stretched = staff_margin(hospital, constants, nurses, constants.stretch)
    can_transfer = hospital.slots >= 1.0 and hospital.budget >= constants.transfer_price
    staff_blocks = False
    wanted, admissible = 0, 0  # bit k: bed type k
    any_valid = False
    for queue in range(N_CLASSES):
        if hospital.queue_count[queue] == 0:
            continue
        critical = queue % 3 == CRITICAL
        bed, other = constants.matched[queue], constants.alternative[queue]
        wanted |= 1 << bed
        equipped = not critical or hospital.equipment_used < hospital.equipment
        staffed = _staffed(constants, need_factor, queue, stretched if critical else margin)
        free = hospital.occupied[bed] < hospital.capacity[bed]
        mask[ADMIT + queue] = free and equipped and staffed
        mask[ALTERNATIVE + queue] = hospital.occupied[other] < hospital.capacity[other] and equipped and staffed
        mask[TRANSFER + queue] = can_transfer and not mask[ADMIT + queue]
        if mask[ADMIT + queue]:
            admissible |= 1 << bed
        any_valid |= mask[ADMIT + queue] or mask[ALTERNATIVE + queue] or mask[TRANSFER + queue]
        staff_blocks |= free and equipped and not staffed
    mask[OVERTIME] = staff_blocks and hospital.overtime_until <= hospital.time and hospital.budget >= constants.overtime_price
    any_valid |= mask[OVERTIME]
    mask[WAIT] = True
    for bed in range(N_BEDS):
        full = hospital.occupied[bed] >= hospital.capacity[bed]
        ordered = hospital.block_opens[bed] < np.inf or hospital.block_open[bed] == 1
        mask[SURGE_BLOCK + bed] = (
            full
            and (wanted >> bed) & 1 == 1
            and not ordered
            and constants.block_beds[bed] > 0
            and hospital.budget >= constants.block_price[bed]
        )
        any_valid |= mask[SURGE_BLOCK + bed]
        if (admissible >> bed) & 1 == 0:
            hospital.hold_since[bed] = np.nan
        else:
            held = 0.0 if np.isnan(hospital.hold_since[bed]) else hospital.time - hospital.hold_since[bed]
            free_beds = hospital.capacity[bed] - hospital.occupied[bed]
            if free_beds > constants.wait_reserve or held >= constants.wait_limit - _SAME_INSTANT:
                mask[WAIT] = False
    return any_valid


@njit
def _spend(hospital: Any, constants: Any, price: float) -> None:
    hospital.budget -= price
    hospital.step_cost += price
    hospital.total_cost += price
    if constants.counted_from <= hospital.time < constants.counted_until:
        hospital.counted_cost += price


@njit
def _admit(hospital: Any, constants: Any, patients: Any, events: Any, groups: Any, queue: int, bed: int) -> None:
    number = hospital.queue_head[queue]
    patient = patients[number]
    given = math.exp(-decay_exponent(constants, patient, hospital.time)) * constants.bed_benefit[queue, bed]
    patient.success_chance = constants.success[patient.age_band, patient.severity_arrival] * given
    decide(hospital, constants, patients, events, groups, number, IN_BED, patient.demand * given)
    patient.bed = bed
    patient.stay = patient.service_hours[patient.severity] * constants.bed_stay[queue, bed]
    place_in_bed(hospital, constants, patients, events, number)
    hospital.hold_since[bed] = np.nan


@njit
def place_in_bed(hospital: Any, constants: Any, patients: Any, events: Any, number: int) -> None:
    """Let a patient whose ``bed`` and ``stay`` are set occupy the bed, nurses and equipment from now on."""
    patient = patients[number]
    queue = queue_class(patient)
    patient.status = IN_BED
    hospital.occupied[patient.bed] += 1
    hospital.occupants[queue, patient.bed] += 1
    hospital.care[constants.skill[queue]] += constants.care[queue]
    if patient.severity == CRITICAL:
        hospital.equipment_used += 1
    add_discharge(hospital, events, hospital.time + patient.stay, number)


@njit
def _transfer(hospital: Any, constants: Any, patients: Any, events: Any, groups: Any, queue: int) -> None:
    number = hospital.queue_head[queue]
    treated = hospital.time + constants.transfer_hours
    given = math.exp(-decay_exponent(constants, patients[number], treated)) * constants.transfer_benefit
    decide(hospital, constants, patients, events, groups, number, TRANSFERRED, patients[number].demand * given)
    hospital.slots -= 1.0
    _spend(hospital, constants, constants.transfer_price)


@njit
def _begin_holds(hospital: Any, constants: Any, mask: Any) -> float:
    """Note which beds waiting holds free; returns how long waiting may last at most."""
    until = hospital.time + constants.wait_limit
    for queue in range(N_CLASSES):
        if mask[ADMIT + queue]:
            bed = constants.matched[queue]
            if np.isnan(hospital.hold_since[bed]):
                hospital.hold_since[bed] = hospital.time
            until = min(until, hospital.hold_since[bed] + constants.wait_limit)
    return until


@njit
def apply(hospital: Any, constants: Any, patients: Any, events: Any, groups: Any, mask: Any, action: int) -> tuple[int, float]:
    """Carry out a valid action at this instant.

    :return: the group of the patient it concerned (-1 if none) and until when to wait (not at all: the present time)
    """
    until = hospital.time
    group = -1
    if action < OVERTIME:
        queue = action % N_CLASSES
        group = patients[hospital.queue_head[queue]].group
        if action < ALTERNATIVE:
            _admit(hospital, constants, patients, events, groups, queue, constants.matched[queue])
        elif action < TRANSFER:
            _admit(hospital, constants, patients, events, groups, queue, constants.alternative[queue])
        else:
            _transfer(hospital, constants, patients, events, groups, queue)
    elif action == OVERTIME:
        hospital.overtime_until = hospital.time + constants.overtime_hours
        _spend(hospital, constants, constants.overtime_price)
    elif action < WAIT:
        bed = action - SURGE_BLOCK
        hospital.block_opens[bed] = hospital.time + constants.block_delay
        hospital.block_closes[bed] = hospital.time + constants.block_delay + constants.block_hours
        _spend(hospital, constants, constants.block_price[bed])
    else:
        until = _begin_holds(hospital, constants, mask)
    return group, until
