"""The queues of those who wait, and the two heaps of events, as compiled functions on the arrays of the kernel.

Queues are linked lists through the patients, one per class, in order of arrival. Patients are numbered in that order, so the
head of a queue is the patient with the smallest number. Everybody who waits or is in a bed has one event at most. Ties in
time are resolved by the patients' order of arrival, so that the same happens on every machine.
"""

from typing import Any

import numpy as np
from numba import njit

from hospital_gym.simulator.layout import DEADLINES, DISCHARGES


@njit
def _before(time: float, patient: int, event: Any) -> bool:
    return time < event.time or (time == event.time and patient < event.patient)


@njit
def _earlier(event: Any, other: Any) -> bool:
    return bool(_before(event.time, event.patient, other))


@njit
def add_discharge(hospital: Any, events: Any, time: float, number: int) -> None:
    """Note when a patient goes home."""
    i = hospital.n_discharges
    hospital.n_discharges += 1
    while i > 0 and _before(time, number, events[DISCHARGES, (i - 1) // 2]):
        above = events[DISCHARGES, (i - 1) // 2]
        events[DISCHARGES, i].time, events[DISCHARGES, i].patient = above.time, above.patient
        i = (i - 1) // 2
    events[DISCHARGES, i].time, events[DISCHARGES, i].patient = time, number


@njit
def drop_discharge(hospital: Any, events: Any) -> None:
    """Forget the earliest discharge."""
    hospital.n_discharges -= 1
    n = hospital.n_discharges
    time, number = events[DISCHARGES, n].time, events[DISCHARGES, n].patient  # the last one looks for a place from the top
    i = 0
    while 2 * i + 1 < n:
        child = 2 * i + 1
        if child + 1 < n and _before(
            events[DISCHARGES, child + 1].time, events[DISCHARGES, child + 1].patient, events[DISCHARGES, child]
        ):
            child += 1
        below = events[DISCHARGES, child]
        if _before(time, number, below):
            break
        events[DISCHARGES, i].time, events[DISCHARGES, i].patient = below.time, below.patient
        i = child
    events[DISCHARGES, i].time, events[DISCHARGES, i].patient = time, number


@njit
def _put_deadline(patients: Any, events: Any, i: int, time: float, number: int) -> None:
    events[DEADLINES, i].time, events[DEADLINES, i].patient = time, number
    patients[number].deadline = i


@njit
def _raise_deadline(patients: Any, events: Any, i: int, time: float, number: int) -> None:
    """Put an event at place ``i`` of the heap of deadlines, or above as far as it is earlier."""
    while i > 0 and _before(time, number, events[DEADLINES, (i - 1) // 2]):
        above = events[DEADLINES, (i - 1) // 2]
        _put_deadline(patients, events, i, above.time, above.patient)
        i = (i - 1) // 2
    _put_deadline(patients, events, i, time, number)


@njit
def add_deadline(hospital: Any, patients: Any, events: Any, time: float, number: int) -> None:
    """Note when a waiting patient worsens, leaves or dies, if ever."""
    if time == np.inf:
        patients[number].deadline = -1
        return
    hospital.n_deadlines += 1
    _raise_deadline(patients, events, hospital.n_deadlines - 1, time, number)


@njit
def drop_deadline(hospital: Any, patients: Any, events: Any, number: int) -> None:
    """Forget the deadline of a patient, if there is one."""
    i = patients[number].deadline
    if i < 0:
        return
    hospital.n_deadlines -= 1
    n = hospital.n_deadlines
    if i == n:
        return
    time, last = events[DEADLINES, n].time, events[DEADLINES, n].patient  # the last one takes the place, or one near it
    while 2 * i + 1 < n:
        child = 2 * i + 1
        if child + 1 < n and _before(
            events[DEADLINES, child + 1].time, events[DEADLINES, child + 1].patient, events[DEADLINES, child]
        ):
            child += 1
        below = events[DEADLINES, child]
        if _before(time, last, below):
            break
        _put_deadline(patients, events, i, below.time, below.patient)
        i = child
    _raise_deadline(patients, events, i, time, last)


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
