"""The event heap and the queues of those who wait, as compiled functions on the arrays of the kernel.

Queues are linked lists through the patients, one per class, in order of arrival. Patients are numbered in that order, so the
head of a queue is the patient with the smallest number. An event counts only if it is its patient's ``next_change``: what
was scheduled for a waiting patient stays in the heap after admission and is recognised as stale when it comes up.
"""

from typing import Any

import numpy as np
from numba import njit

from hospital_gym.simulator.layout import IN_BED, WAITING


@njit
def _before(events: Any, i: int, j: int) -> bool:
    if events[i].time != events[j].time:
        return events[i].time < events[j].time
    return events[i].patient < events[j].patient  # ties in order of arrival: the same on every machine


@njit
def _swap(events: Any, i: int, j: int) -> None:
    time, patient = events[i].time, events[i].patient
    events[i].time, events[i].patient = events[j].time, events[j].patient
    events[j].time, events[j].patient = time, patient


@njit
def push_event(hospital: Any, events: Any, time: float, patient: int) -> None:
    """Add an event; the heap holds at most two a patient, for which ``events`` has room."""
    i = hospital.n_events
    events[i].time, events[i].patient = time, patient
    hospital.n_events += 1
    while i > 0:
        parent = (i - 1) // 2
        if not _before(events, i, parent):
            break
        _swap(events, i, parent)
        i = parent


@njit
def pop_event(hospital: Any, events: Any) -> None:
    """Remove the earliest event."""
    hospital.n_events -= 1
    last = hospital.n_events
    events[0].time, events[0].patient = events[last].time, events[last].patient
    i = 0
    while True:
        child = 2 * i + 1
        if child >= last:
            break
        if child + 1 < last and _before(events, child + 1, child):
            child += 1
        if not _before(events, child, i):
            break
        _swap(events, child, i)
        i = child


@njit
def drop_stale_events(hospital: Any, patients: Any, events: Any) -> None:
    """Remove events from the top that their patients outran."""
    while hospital.n_events > 0:
        patient = patients[events[0].patient]
        if patient.next_change == events[0].time and (patient.status == IN_BED or patient.status == WAITING):
            break
        pop_event(hospital, events)


@njit
def arrival_of(hospital: Any, patients: Any, number: int) -> float:
    """When a patient arrives; infinite after the last one."""
    return float(patients[number].arrival) if number < hospital.n_patients else np.inf


@njit
def enqueue(hospital: Any, patients: Any, number: int, queue: int) -> None:
    """Put a patient into the queue of a class, in order of arrival."""
    ahead = hospital.queue_tail[queue]
    if ahead > number:  # somebody who worsened is older than most in the new queue: search from the head
        ahead = -1
        behind = hospital.queue_head[queue]
        while behind < number:
            ahead = behind
            behind = patients[behind].next_waiting
    else:
        behind = -1
    patients[number].previous_waiting = ahead
    patients[number].next_waiting = behind
    if ahead >= 0:
        patients[ahead].next_waiting = number
    else:
        hospital.queue_head[queue] = number
        hospital.head_arrival[queue] = patients[number].arrival
    if behind >= 0:
        patients[behind].previous_waiting = number
    else:
        hospital.queue_tail[queue] = number
    hospital.queue_count[queue] += 1
    hospital.queue_arrivals[queue] += patients[number].arrival
    hospital.n_waiting += 1


@njit
def dequeue(hospital: Any, patients: Any, number: int, queue: int) -> None:
    """Take a patient out of the queue of a class."""
    ahead, behind = patients[number].previous_waiting, patients[number].next_waiting
    if ahead >= 0:
        patients[ahead].next_waiting = behind
    else:
        hospital.queue_head[queue] = behind
        if behind >= 0:
            hospital.head_arrival[queue] = patients[behind].arrival
    if behind >= 0:
        patients[behind].previous_waiting = ahead
    else:
        hospital.queue_tail[queue] = ahead
    hospital.queue_count[queue] -= 1
    hospital.queue_arrivals[queue] -= patients[number].arrival
    hospital.n_waiting -= 1
    if hospital.queue_count[queue] == 0:
        hospital.queue_arrivals[queue] = 0.0  # no rounding error is carried on
