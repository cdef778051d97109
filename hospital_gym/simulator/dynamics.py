"""How time passes: arrivals, discharges, what happens to those who wait, shifts, maintenance, capacity, levers."""

import math
from typing import Any

import numpy as np
from numba import njit

from hospital_gym.simulator.layout import (
    CRITICAL,
    DEADLINES,
    DIED,
    DISCHARGED,
    DISCHARGES,
    EQUIPMENT,
    LEFT,
    N_BEDS,
    NURSES,
    SHIFT_HOURS,
    WAITING,
)
from hospital_gym.simulator.queues import add_deadline, dequeue, drop_deadline, drop_discharge, enqueue


@njit
def queue_class(patient: Any) -> int:
    """The queue a patient belongs in: age band x current severity."""
    return int(3 * patient.age_band + patient.severity)


@njit
def decay_exponent(constants: Any, patient: Any, time: float) -> float:
    """Hours beyond grace in units of tau, summed over the stages of severity until ``time``.

    Grace is the target wait in the first stage and nothing afterwards; the share of the benefit that is left is exp(-this).
    """
    grace = constants.target[patient.severity] if patient.severity == patient.severity_arrival else 0.0
    beyond = max(0.0, time - patient.stage_begin - grace)
    return patient.decay + beyond / constants.tau[patient.age_band, patient.severity]


@njit
def schedule_change(hospital: Any, patients: Any, events: Any, number: int) -> None:
    """Schedule what ends the current stage of a waiting patient: worsening (or death) or leaving."""
    patient = patients[number]
    severity = patient.severity
    hours = min(patient.stage_hours[severity], patient.patience_hours[severity])
    add_deadline(hospital, patients, events, patient.stage_begin + hours, number)


@njit
def refresh_recent(hospital: Any, constants: Any, groups: Any) -> None:
    """Let the observed benefit rates forget the time since they were last touched."""
    keep = math.exp(-(hospital.time - hospital.recent_time) / constants.rate_memory)
    hospital.recent_time = hospital.time
    for g in range(groups.shape[0]):
        groups[g].recent_benefit *= keep
        groups[g].recent_demand *= keep


@njit
def decide(
    hospital: Any, constants: Any, patients: Any, events: Any, groups: Any, number: int, status: int, benefit: float
) -> None:
    """Close the waiting of a patient: out of the queue, benefit and exposure credited to the patient's group."""
    patient = patients[number]
    drop_deadline(hospital, patients, events, number)
    dequeue(hospital, patients, number, queue_class(patient))
    patient.status = status
    patient.decided = hospital.time
    patient.benefit = benefit
    refresh_recent(hospital, constants, groups)
    group = groups[patient.group]
    group.waiting -= 1
    group.step_benefit += benefit
    group.step_exposure += patient.exposure
    group.recent_benefit += benefit
    group.recent_demand += patient.demand


@njit
def _arrive(hospital: Any, patients: Any, events: Any, groups: Any) -> None:
    number = hospital.next_arrival
    hospital.next_arrival += 1
    patient = patients[number]
    patient.status = WAITING
    patient.severity = patient.severity_arrival
    patient.stage_begin = patient.arrival
    patient.exposure = patient.demand
    groups[patient.group].waiting += 1
    enqueue(hospital, patients, number, queue_class(patient))
    schedule_change(hospital, patients, events, number)


@njit
def _discharge(hospital: Any, constants: Any, patients: Any, number: int) -> None:
    patient = patients[number]
    queue = queue_class(patient)
    patient.status = DISCHARGED
    hospital.occupied[patient.bed] -= 1
    hospital.occupants[queue, patient.bed] -= 1
    hospital.care[constants.skill[queue]] -= constants.care[queue]
    if patient.severity == CRITICAL:
        hospital.equipment_used -= 1


@njit
def _change(hospital: Any, constants: Any, patients: Any, events: Any, groups: Any, number: int) -> None:
    """The stage of a waiting patient ends: the patient leaves, worsens or dies."""
    patient = patients[number]
    severity = patient.severity
    if patient.patience_hours[severity] < patient.stage_hours[severity]:
        decide(hospital, constants, patients, events, groups, number, LEFT, 0.0)
    elif severity == CRITICAL:
        decide(hospital, constants, patients, events, groups, number, DIED, 0.0)
    else:
        drop_deadline(hospital, patients, events, number)
        dequeue(hospital, patients, number, queue_class(patient))
        patient.decay = decay_exponent(constants, patient, hospital.time)
        patient.severity += 1
        patient.stage_begin = hospital.time
        enqueue(hospital, patients, number, queue_class(patient))
        schedule_change(hospital, patients, events, number)


@njit
def _calendar(hospital: Any) -> float:
    """When the next thing happens that no patient causes."""
    time = min(hospital.next_shift, hospital.next_maintenance, hospital.next_capacity)
    if hospital.overtime_until > hospital.time:
        time = min(time, hospital.overtime_until)
    for bed in range(N_BEDS):
        time = min(time, hospital.block_opens[bed], hospital.block_closes[bed])
    return time


@njit
def capacity_change(hospital: Any, changes: Any) -> None:
    """Apply the scheduled changes of capacity that begin or end now, and find when the next does."""
    after = np.inf
    for k in range(changes.shape[0]):
        begin, end, bed = changes[k, 0], changes[k, 1], int(changes[k, 2])
        if begin == hospital.time:
            hospital.capacity[bed] += int(changes[k, 3])
        if end == hospital.time:
            hospital.capacity[bed] -= int(changes[k, 3])
        if begin > hospital.time:
            after = min(after, begin)
        if end > hospital.time:
            after = min(after, end)
    hospital.next_capacity = after


@njit
def _run_calendar(hospital: Any, constants: Any, changes: Any) -> None:
    time = hospital.time
    if hospital.next_shift <= time:
        hospital.shift += 1
        hospital.next_shift += SHIFT_HOURS
    if hospital.next_maintenance <= time:
        if hospital.in_maintenance == 0:
            hospital.in_maintenance = 1
            hospital.equipment = constants.equipment_in_maintenance
            hospital.next_maintenance += constants.maintenance_hours
        else:
            hospital.in_maintenance = 0
            hospital.equipment = constants.equipment
            hospital.next_maintenance += constants.maintenance_every - constants.maintenance_hours
    if hospital.next_capacity <= time:
        capacity_change(hospital, changes)
    for bed in range(N_BEDS):
        if hospital.block_opens[bed] <= time:
            hospital.block_opens[bed] = np.inf
            hospital.block_open[bed] = 1
            hospital.capacity[bed] += constants.block_beds[bed]
        if hospital.block_closes[bed] <= time:
            hospital.block_closes[bed] = np.inf
            hospital.block_open[bed] = 0
            hospital.capacity[bed] -= constants.block_beds[bed]


@njit
def _use(hospital: Any, constants: Any, hours: float) -> None:
    """Add up the use of every resource over ``hours`` in which nothing happens."""
    used, opened = hospital.used_hours, hospital.open_hours
    for bed in range(N_BEDS):
        used[bed] += hours * hospital.occupied[bed]
        opened[bed] += hours * hospital.capacity[bed]
        if hospital.block_open[bed] == 1:
            opened[NURSES] += hours * constants.block_care[bed]
    if hospital.overtime_until > hospital.time:
        opened[NURSES] += hours * constants.overtime_nurses
    care = hospital.care[0] + hospital.care[1] + hospital.care[2]
    used[NURSES] += hours * constants.shift_need[(hospital.shift + 2) % 3] * care
    used[EQUIPMENT] += hours * hospital.equipment_used
    opened[EQUIPMENT] += hours * hospital.equipment


@njit
def _pass_time(hospital: Any, constants: Any, groups: Any, until: float) -> None:
    hours = until - hospital.time
    _use(hospital, constants, hours)
    hospital.time = until
    hospital.budget = min(constants.budget_cap, hospital.budget + hours * constants.budget_rate)
    hospital.slots = min(constants.slot_cap, hospital.slots + hours * constants.slot_rate)
    for bed in range(N_BEDS):
        hospital.bed_hours[bed] += hours * hospital.occupied[bed]
        hospital.capacity_hours[bed] += hours * hospital.capacity[bed]
    for g in range(groups.shape[0]):
        groups[g].waiting_hours += hours * groups[g].waiting


@njit
def advance(
    hospital: Any, constants: Any, patients: Any, arrivals: Any, events: Any, groups: Any, changes: Any, limit: float
) -> None:
    """Let time pass until the next event, ``limit`` or the horizon, whichever is first, and let the event happen."""
    arrival = arrivals[hospital.next_arrival]
    discharge = events[DISCHARGES, 0].time if hospital.n_discharges > 0 else np.inf
    deadline = events[DEADLINES, 0].time if hospital.n_deadlines > 0 else np.inf
    calendar = _calendar(hospital)
    until = min(arrival, discharge, deadline, calendar, limit, constants.horizon)
    _pass_time(hospital, constants, groups, until)
    if until >= constants.horizon:
        hospital.done = 1
    elif calendar <= until:
        _run_calendar(hospital, constants, changes)
    elif min(discharge, deadline) <= until:
        first = events[DISCHARGES, 0].patient
        if discharge < deadline or (discharge == deadline and first < events[DEADLINES, 0].patient):
            drop_discharge(hospital, events)
            _discharge(hospital, constants, patients, first)
        else:
            _change(hospital, constants, patients, events, groups, events[DEADLINES, 0].patient)
    elif arrival <= until:
        _arrive(hospital, patients, events, groups)
    while hospital.day_ago < hospital.next_arrival and arrivals[hospital.day_ago] < until - 24.0:
        hospital.day_ago += 1
