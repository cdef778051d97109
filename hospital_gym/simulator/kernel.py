"""The compiled entry points: begin an episode, take one decision, or let the triage rule play to the end."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from hospital_gym.simulator.actions import apply, fill_mask, place_in_bed
from hospital_gym.simulator.compiling import announced, source_digest
from hospital_gym.simulator.dynamics import advance, capacity_change, decay_exponent
from hospital_gym.simulator.layout import IN_BED, SHIFT_HOURS, WAIT
from hospital_gym.simulator.observe import observe
from hospital_gym.simulator.triage import triage_action


@njit
def _next_decision(
    hospital: Any, c: Any, patients: Any, arrivals: Any, events: Any, groups: Any, nurses: Any, changes: Any, mask: Any
) -> None:
    """Let time pass until somebody waits for whom something can be done, or the horizon."""
    while hospital.done == 0 and not fill_mask(hospital, c, nurses, mask):
        advance(hospital, c, patients, arrivals, events, groups, changes, hospital.time + c.wait_limit)


@njit
def _carry_out(
    hospital: Any,
    c: Any,
    patients: Any,
    arrivals: Any,
    events: Any,
    groups: Any,
    nurses: Any,
    changes: Any,
    mask: Any,
    action: int,
) -> int:
    """One decision and what follows until the next; returns the group it concerned."""
    group, until = apply(hospital, c, patients, events, groups, mask, action)
    if action == WAIT:
        advance(hospital, c, patients, arrivals, events, groups, changes, until)
    _next_decision(hospital, c, patients, arrivals, events, groups, nurses, changes, mask)
    return group


@njit
def _open(hospital: Any, c: Any, patients: Any, arrivals: Any, events: Any, changes: Any) -> None:
    """The state at the start of the simulation: those in beds at the start are in the patients' first rows."""
    hospital.time = hospital.recent_time = c.start
    hospital.n_patients = patients.shape[0]
    hospital.queue_head[:] = -1
    hospital.queue_tail[:] = -1
    hospital.capacity[:] = c.beds
    hospital.shift = int((c.start - c.roster_start) // SHIFT_HOURS)
    hospital.next_shift = c.roster_start + SHIFT_HOURS * (hospital.shift + 1)
    hospital.equipment = c.equipment
    hospital.budget, hospital.slots = c.budget_cap / 2.0, c.slot_cap / 2.0
    hospital.overtime_until = -np.inf
    hospital.block_opens[:] = np.inf
    hospital.block_closes[:] = np.inf
    hospital.hold_since[:] = np.nan
    hospital.next_capacity = np.inf
    if changes.shape[0] > 0:
        capacity_change(hospital, changes)
    for number in range(patients.shape[0]):
        arrivals[number] = patients[number].arrival
    arrivals[patients.shape[0]] = np.inf
    for number in range(patients.shape[0]):
        if patients[number].status != IN_BED:
            break
        place_in_bed(hospital, c, patients, events, number)
        hospital.next_arrival += 1
    hospital.day_ago = hospital.next_arrival


@njit
def _burn_in(
    h: Any, c: Any, patients: Any, arrivals: Any, events: Any, groups: Any, nurses: Any, changes: Any, mask: Any
) -> None:
    """Triage decides until hour 0."""
    while h.time < 0.0:
        if fill_mask(h, c, nurses, mask):
            action = triage_action(h, c, mask)
            _, until = apply(h, c, patients, events, groups, mask, action)
            if action == WAIT:
                advance(h, c, patients, arrivals, events, groups, changes, min(0.0, until))
        else:
            advance(h, c, patients, arrivals, events, groups, changes, min(0.0, h.time + c.wait_limit))


@njit
def _begin_control(hospital: Any, c: Any, patients: Any, groups: Any) -> None:
    """What the burn-in cost is forgotten; those waiting now enter with the demand that can still be met."""
    hospital.budget, hospital.slots = c.budget_cap / 2.0, c.slot_cap / 2.0
    hospital.step_cost = hospital.counted_cost = hospital.total_cost = 0.0
    hospital.used_hours[:] = 0.0
    hospital.open_hours[:] = 0.0
    for g in range(groups.shape[0]):
        groups[g].step_benefit = groups[g].step_exposure = 0.0
    for queue in range(hospital.queue_head.shape[0]):
        number = hospital.queue_head[queue]
        while number >= 0:
            exponent = decay_exponent(c, patients[number], hospital.time)
            patients[number].exposure = patients[number].demand * math.exp(-exponent)
            number = patients[number].next_waiting
    hospital.decisions = 0


@njit
def _close(hospital: Any, patients: Any, groups: Any) -> None:
    """The horizon: those still waiting enter the exposure of the last step."""
    for queue in range(hospital.queue_head.shape[0]):
        number = hospital.queue_head[queue]
        while number >= 0:
            groups[patients[number].group].step_exposure += patients[number].exposure
            number = patients[number].next_waiting


@njit
def _report(hospital: Any, groups: Any, group_rewards: Any, group_exposure: Any) -> float:
    """Hand out what was decided since the last report; returns the reward."""
    reward = 0.0
    for g in range(groups.shape[0]):
        group_rewards[g] = groups[g].step_benefit - groups[g].demand_share * hospital.step_cost
        reward += float(group_rewards[g])  # what is handed out, in single precision: the parts sum to the reward
        group_exposure[g] = groups[g].step_exposure
        groups[g].step_benefit = groups[g].step_exposure = 0.0
    hospital.step_cost = 0.0
    return reward


@njit
def _step(
    h: Any,
    c: Any,
    patients: Any,
    arrivals: Any,
    events: Any,
    groups: Any,
    nurses: Any,
    changes: Any,
    mask: Any,
    out: Any,
    group_rewards: Any,
    group_exposure: Any,
    action: int,
) -> tuple[int, bool, float, float]:
    """One decision with all that is reported of it; returns (group concerned, action was invalid, hours elapsed, reward)."""
    before = h.time
    invalid = not (0 <= action < mask.shape[0] and mask[action])
    if invalid:
        action = triage_action(h, c, mask)
        h.invalid += 1
    group = _carry_out(h, c, patients, arrivals, events, groups, nurses, changes, mask, action)
    h.decisions += 1
    if h.done == 1:
        fill_mask(h, c, nurses, mask)
        _close(h, patients, groups)
    reward = _report(h, groups, group_rewards, group_exposure)
    observe(h, c, groups, nurses, mask, out)
    return group, invalid, h.time - before, reward


def _compile_entry_points(digest: int) -> tuple[Callable[..., Any], ...]:
    @njit(cache=True)
    def begin(
        hospitals: Any,
        constants: Any,
        patients: Any,
        arrivals: Any,
        events: Any,
        groups: Any,
        nurses: Any,
        changes: Any,
        mask: Any,
        out: Any,
    ) -> int:
        """Open the hospital, burn in under triage, and stop at the first decision."""
        h, c = hospitals[0], constants[0]
        _open(h, c, patients, arrivals, events, changes)
        _burn_in(h, c, patients, arrivals, events, groups, nurses, changes, mask)
        _begin_control(h, c, patients, groups)
        _next_decision(h, c, patients, arrivals, events, groups, nurses, changes, mask)
        if h.done == 1:  # nothing to decide in the whole episode: the first step ends it
            h.done = 0
            fill_mask(h, c, nurses, mask)
        observe(h, c, groups, nurses, mask, out)
        return digest

    @njit(cache=True)
    def step(
        hospitals: Any,
        constants: Any,
        patients: Any,
        arrivals: Any,
        events: Any,
        groups: Any,
        nurses: Any,
        changes: Any,
        mask: Any,
        out: Any,
        group_rewards: Any,
        group_exposure: Any,
        action: int,
    ) -> tuple[int, bool, float, float, int]:
        """Take one decision; returns (group concerned, action was invalid, hours elapsed, reward, digest of the sources)."""
        group, invalid, elapsed, reward = _step(
            hospitals[0],
            constants[0],
            patients,
            arrivals,
            events,
            groups,
            nurses,
            changes,
            mask,
            out,
            group_rewards,
            group_exposure,
            action,
        )
        return group, invalid, elapsed, reward, digest

    @njit(cache=True, nogil=True)
    def step_all(
        hospitals: Any,
        constants: Any,
        patients: Any,
        arrivals: Any,
        events: Any,
        groups: Any,
        nurses: Any,
        changes: Any,
        masks: Any,
        out: Any,
        group_rewards: Any,
        group_exposure: Any,
        concerned: Any,
        invalid: Any,
        elapsed: Any,
        rewards: Any,
        actions: Any,
        first: int,
        last: int,
    ) -> tuple[int, int]:
        """Take one decision in each of the hospitals ``first`` to ``last - 1``.

        The arrays are those of one hospital with a dimension in front. It touches no Python object, so threads may run it on
        different hospitals at the same time.

        :return: how many episodes ended, and the digest of the sources. If no step was taken: -1 - i where the number for
            hospital i is no action, -1 - n - i where hospital i has no running episode
        """
        n = masks.shape[0]
        for i in range(n):
            if actions[i] < 0 or actions[i] >= masks.shape[1]:
                return -1 - i, digest
        for i in range(first, last):
            if hospitals[i].done == 1:
                return -1 - n - i, digest
        n_ended = 0
        for i in range(first, last):
            concerned[i], invalid[i], elapsed[i], rewards[i] = _step(
                hospitals[i],
                constants[0],
                patients[i],
                arrivals[i],
                events[i],
                groups[i],
                nurses[i],
                changes,
                masks[i],
                out[i],
                group_rewards[i],
                group_exposure[i],
                actions[i],
            )
            n_ended += hospitals[i].done
        return n_ended, digest

    @njit(cache=True)
    def run_triage(
        hospitals: Any,
        constants: Any,
        patients: Any,
        arrivals: Any,
        events: Any,
        groups: Any,
        nurses: Any,
        changes: Any,
        mask: Any,
    ) -> int:
        """Play on under triage until the horizon without leaving compiled code; returns the digest of the sources."""
        h, c = hospitals[0], constants[0]
        while h.done == 0:
            _carry_out(h, c, patients, arrivals, events, groups, nurses, changes, mask, triage_action(h, c, mask))
            h.decisions += 1
        _close(h, patients, groups)
        return digest

    @njit(cache=True)
    def triage_choice(hospitals: Any, constants: Any, mask: Any) -> tuple[int, int]:
        """The action the triage rule would take now, and the digest of the sources."""
        return triage_action(hospitals[0], constants[0], mask), digest

    return begin, step, step_all, run_triage, triage_choice


begin, step, step_all, run_triage, triage_choice = announced(*_compile_entry_points(source_digest()))
