"""Writing the observation, in place and in the order of :data:`hospital_gym.observation.FIELDS`."""

import math
from typing import Any

import numpy as np
from numba import njit

from hospital_gym.observation import COUNT_SCALE, NURSE_SCALE
from hospital_gym.simulator.actions import staff_margin
from hospital_gym.simulator.layout import N_BEDS, N_CLASSES, N_SKILLS

_COUNT = 1.0 / COUNT_SCALE
_NURSE = 1.0 / NURSE_SCALE
_TURN = 2.0 * np.pi


@njit
def _write_queues(hospital: Any, constants: Any, out: Any) -> int:
    for queue in range(N_CLASSES):
        count = hospital.queue_count[queue]
        out[queue] = min(100.0, _COUNT * count)
        out[N_CLASSES + queue] = out[2 * N_CLASSES + queue] = 0.0
        if count > 0:
            target = constants.target[queue % 3]
            head = (hospital.time - hospital.head_arrival[queue]) / target
            mean = max(0.0, hospital.time - hospital.queue_arrivals[queue] / count) / target
            out[N_CLASSES + queue] = min(20.0, math.log1p(head))
            out[2 * N_CLASSES + queue] = min(20.0, math.log1p(mean))
    return 3 * N_CLASSES


@njit
def _write_beds(hospital: Any, constants: Any, out: Any, at: int) -> int:
    for bed in range(N_BEDS):
        occupied, capacity = hospital.occupied[bed], hospital.capacity[bed]
        out[at + bed] = min(1000.0, _COUNT * max(0, capacity - occupied))
        out[at + N_BEDS + bed] = min(1000.0, _COUNT * occupied)
        out[at + 2 * N_BEDS + bed] = max(-1000.0, min(1000.0, _COUNT * (constants.beds[bed] - capacity)))
        held = hospital.hold_since[bed]
        out[at + 3 * N_BEDS + bed] = 0.0 if np.isnan(held) else min(10.0, (hospital.time - held) / constants.wait_limit)
    at += 4 * N_BEDS
    for queue in range(N_CLASSES):
        for bed in range(N_BEDS):
            out[at] = min(1000.0, _COUNT * hospital.occupants[queue, bed])
            at += 1
    return at


@njit
def _write_levers(hospital: Any, constants: Any, nurses: Any, out: Any, at: int) -> int:
    margin = staff_margin(hospital, constants, nurses, 1.0)
    for skill in range(N_SKILLS):
        out[at + skill] = max(-1000.0, min(1000.0, _NURSE * margin[skill]))
    at += N_SKILLS
    out[at] = max(-1000.0, min(1000.0, _NURSE * (hospital.equipment - hospital.equipment_used)))
    out[at + 1] = min(1000.0, hospital.budget)
    out[at + 2] = min(1000.0, hospital.slots)
    out[at + 3] = min(100.0, max(0.0, hospital.overtime_until - hospital.time) / 8.0)
    at += 4
    for bed in range(N_BEDS):
        opens, closes = hospital.block_opens[bed], hospital.block_closes[bed]
        out[at + bed] = min(100.0, (opens - hospital.time) / 24.0) if opens < np.inf else 0.0
        out[at + N_BEDS + bed] = min(100.0, (closes - hospital.time) / 24.0) if closes < np.inf else 0.0
    return at + 2 * N_BEDS


@njit
def observe(hospital: Any, constants: Any, groups: Any, nurses: Any, mask: Any, out: Any) -> None:
    """Fill ``out`` (float32, the size of the layout) with the present state."""
    at = _write_queues(hospital, constants, out)
    at = _write_beds(hospital, constants, out, at)
    at = _write_levers(hospital, constants, nurses, out, at)
    day, week = _TURN * hospital.time / 24.0, _TURN * hospital.time / 168.0
    out[at], out[at + 1], out[at + 2], out[at + 3] = math.sin(day), math.cos(day), math.sin(week), math.cos(week)
    mean_a_day = max(1e-9, constants.requests_per_day)
    out[at + 4] = min(100.0, (hospital.next_arrival - hospital.day_ago) / mean_a_day)
    at += 5
    keep = math.exp(-(hospital.time - hospital.recent_time) / constants.rate_memory)
    weight = constants.rate_prior_weight
    for g in range(groups.shape[0]):
        group = groups[g]
        benefit = constants.rate_prior * weight + keep * group.recent_benefit
        out[at + g] = min(1.0, benefit / (weight + keep * group.recent_demand))
    at += groups.shape[0]
    for k in range(mask.shape[0]):
        out[at + k] = 1.0 if mask[k] else 0.0
