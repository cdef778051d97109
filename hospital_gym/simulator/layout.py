"""What the compiled kernel works on: record types, action numbers, observation fields.

The kernel keeps a hospital in five arrays, so that a snapshot is five copies and many hospitals are five stacked arrays:

- ``hospital``: one :data:`HOSPITAL` record, everything of fixed size (clock, counters, queues' ends, levers);
- ``patients``: one :data:`PATIENT` record per patient of the episode, in order of arrival. What is random about a patient is
  drawn before the episode begins and never depends on a policy;
- ``arrivals``: when each patient arrives, once more, and infinity at the end: counting arrivals need not fetch the patients;
- ``events``: two heaps of :data:`EVENT`, in row DISCHARGES and in row DEADLINES;
- ``groups``: one :data:`GROUP` record per group.

``constants`` (:data:`CONSTANTS`) and ``nurses`` (nurses present by shift and skill) complete them and are only read.
"""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from numba.core import config

if TYPE_CHECKING:
    from hospital_gym.scenarios import Scenario

N_AGES: Final = 3
N_SEVERITIES: Final = 3
N_CLASSES: Final = N_AGES * N_SEVERITIES
"""Queue classes: age band x current severity; class = 3 * age band + severity."""
N_BEDS: Final = 3
N_SKILLS: Final = 3
N_RESOURCES: Final = N_BEDS + 2
NURSES: Final = N_BEDS
"""Resources are the bed types, nurses and equipment."""
EQUIPMENT: Final = N_BEDS + 1
GENERAL: Final = 0
PAEDIATRIC: Final = 1
CRITICAL_BED: Final = 2
CHILD: Final = 0
ELDERLY: Final = 2
ROUTINE: Final = 0
URGENT: Final = 1
CRITICAL: Final = 2

# --- actions ------------------------------------------------------------------------------------------------------------
ADMIT: Final = 0
"""Actions ADMIT + class: the head of the class to its matched bed."""
ALTERNATIVE: Final = ADMIT + N_CLASSES
"""Actions ALTERNATIVE + class: the head of the class to its alternative bed."""
TRANSFER: Final = ALTERNATIVE + N_CLASSES
"""Actions TRANSFER + class: the head of the class to another hospital."""
OVERTIME: Final = TRANSFER + N_CLASSES
SURGE_BLOCK: Final = OVERTIME + 1
"""Actions SURGE_BLOCK + bed type: order a block of surge beds."""
WAIT: Final = SURGE_BLOCK + N_BEDS
N_ACTIONS: Final = WAIT + 1

# --- patients -----------------------------------------------------------------------------------------------------------
ABSENT: Final = 0  # not arrived yet
WAITING: Final = 1
IN_BED: Final = 2
DISCHARGED: Final = 3
LEFT: Final = 4
DIED: Final = 5
TRANSFERRED: Final = 6

PATIENT: Final = np.dtype(
    [
        # A patient fills three cache lines of 64 bytes: what moves the queues, what happens to those who wait, what a bed
        # brings. + is drawn before the episode begins and never written by the kernel.
        ("arrival", np.float64),  # +
        ("demand", np.float64),  # +
        ("stage_begin", np.float64),
        ("deadline", np.int64),  # place in the heap of deadlines, -1 for none
        ("decay", np.float64),  # sum over finished stages of the time beyond grace, in units of tau
        ("exposure", np.float64),  # demand that enters the reward's denominator when the fate is decided
        ("next_waiting", np.int32),  # the patient behind in the queue of the class, -1 at the end
        ("previous_waiting", np.int32),
        ("group", np.int16),  # +
        ("age_band", np.int8),  # +
        ("sex", np.int8),  # +
        ("severity_arrival", np.int8),  # +
        ("severity", np.int8),
        ("status", np.int8),
        ("bed", np.int8),
        ("stage_hours", np.float64, (N_SEVERITIES,)),  # + hours in a severity until it worsens (critical: death)
        ("patience_hours", np.float64, (N_SEVERITIES,)),  # + hours in a severity until the patient leaves
        ("decided", np.float64),  # when the patient's fate was decided; NaN while it is not
        ("benefit", np.float64),
        ("service_hours", np.float64, (N_SEVERITIES,)),  # + stay in the matched bed, by severity at admission
        ("stay", np.float64),
        ("success_chance", np.float64),
        ("success_draw", np.float64),  # + uniform: treated with success if below the chance of success
        ("age", np.float32),  # +
        ("quintile", np.int8),  # +
        ("unused", np.int8, (11,)),
    ]
)

DISCHARGES: Final = 0
"""When those in beds go home."""
DEADLINES: Final = 1
"""When those who wait worsen, leave or die."""
EVENT: Final = np.dtype([("time", np.float64), ("patient", np.int64)])

GROUP: Final = np.dtype(
    [
        ("demand_share", np.float64),  # constant: the share of shared cost this group carries
        ("step_benefit", np.float64),  # since the last step; before the first one since control began
        ("step_exposure", np.float64),
        ("recent_benefit", np.float64),
        ("recent_demand", np.float64),
        ("waiting", np.int64),
        ("waiting_hours", np.float64),  # integral of the number waiting since the start
    ]
)

HOSPITAL: Final = np.dtype(
    [
        ("time", np.float64),
        ("n_patients", np.int64),
        ("next_arrival", np.int64),  # index of the next patient to arrive
        ("day_ago", np.int64),  # index of the first patient who arrived less than 24 h ago
        ("n_discharges", np.int64),
        ("n_deadlines", np.int64),
        ("n_waiting", np.int64),
        ("queue_head", np.int32, (N_CLASSES,)),
        ("queue_tail", np.int32, (N_CLASSES,)),
        ("queue_count", np.int64, (N_CLASSES,)),
        ("queue_arrivals", np.float64, (N_CLASSES,)),  # sum of the arrival times of those waiting
        ("head_arrival", np.float64, (N_CLASSES,)),  # arrival time of the queue's head, if there is one
        ("occupied", np.int64, (N_BEDS,)),
        ("capacity", np.int64, (N_BEDS,)),
        ("occupants", np.int64, (N_CLASSES, N_BEDS)),
        ("bed_hours", np.float64, (N_BEDS,)),  # integral of the occupied beds since the start
        ("capacity_hours", np.float64, (N_BEDS,)),
        ("used_hours", np.float64, (N_RESOURCES,)),  # integrals since control began, see hospital_gym.records.RESOURCES
        ("open_hours", np.float64, (N_RESOURCES,)),  # of nurses only those who came by a lever: the roster is not written here
        ("care", np.float64, (N_SKILLS,)),  # nurses needed by those in beds, by skill, on a day shift
        ("shift", np.int64),  # index of the current shift in ``nurses``
        ("next_shift", np.float64),
        ("equipment", np.int64),  # units not in maintenance
        ("in_maintenance", np.int64),
        ("equipment_used", np.int64),
        ("next_maintenance", np.float64),  # when maintenance next begins or ends
        ("next_capacity", np.float64),  # when a scheduled change of capacity next begins or ends
        ("budget", np.float64),
        ("slots", np.float64),
        ("overtime_until", np.float64),
        ("block_opens", np.float64, (N_BEDS,)),
        ("block_closes", np.float64, (N_BEDS,)),
        ("block_open", np.int64, (N_BEDS,)),
        ("hold_since", np.float64, (N_BEDS,)),  # since when a bed of the type is held free for nobody; NaN if none is
        ("step_cost", np.float64),
        ("counted_cost", np.float64),
        ("total_cost", np.float64),
        ("recent_time", np.float64),  # when the recent benefit rates were last brought up to date
        ("decisions", np.int64),
        ("invalid", np.int64),
        ("done", np.int64),
    ]
)

CONSTANTS: Final = np.dtype(
    [
        ("beds", np.int64, (N_BEDS,)),
        ("block_beds", np.int64, (N_BEDS,)),
        ("block_price", np.float64, (N_BEDS,)),
        ("block_delay", np.float64),
        ("block_hours", np.float64),
        ("block_care", np.float64, (N_BEDS,)),  # nurses who come with a block, of the skill of its beds
        ("matched", np.int64, (N_CLASSES,)),  # matched bed type by class
        ("alternative", np.int64, (N_CLASSES,)),
        ("skill", np.int64, (N_CLASSES,)),
        ("care", np.float64, (N_CLASSES,)),  # nurses one patient of the class needs on a day shift
        ("bed_benefit", np.float64, (N_CLASSES, N_BEDS)),
        ("bed_stay", np.float64, (N_CLASSES, N_BEDS)),
        ("target", np.float64, (N_SEVERITIES,)),
        ("tau", np.float64, (N_AGES, N_SEVERITIES)),
        ("success", np.float64, (N_AGES, N_SEVERITIES)),
        ("shift_need", np.float64, (3,)),
        ("stretch", np.float64),
        ("equipment", np.int64),
        ("equipment_in_maintenance", np.int64),
        ("maintenance_every", np.float64),
        ("maintenance_hours", np.float64),
        ("budget_rate", np.float64),
        ("budget_cap", np.float64),
        ("overtime_nurses", np.float64),
        ("overtime_price", np.float64),
        ("overtime_hours", np.float64),
        ("transfer_price", np.float64),
        ("transfer_hours", np.float64),
        ("transfer_benefit", np.float64),
        ("slot_rate", np.float64),
        ("slot_cap", np.float64),
        ("wait_reserve", np.int64),
        ("wait_limit", np.float64),
        ("start", np.float64),  # hour at which the simulation starts: minus the burn-in
        ("roster_start", np.float64),
        ("horizon", np.float64),
        ("counted_from", np.float64),
        ("counted_until", np.float64),
        ("rate_memory", np.float64),
        ("rate_prior", np.float64),
        ("rate_prior_weight", np.float64),
        ("requests_per_day", np.float64),
        ("overtime_threshold", np.int64),
        ("block_threshold", np.int64, (N_BEDS,)),
        ("transfer_threshold", np.int64),
        ("overflow_reserve", np.int64),
    ]
)


def for_kernel(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Compiled code reads plain structured arrays (dispatch is ten times faster); uncompiled it needs fields as attributes."""
    return array.view(np.recarray) if config.DISABLE_JIT and array.dtype.names else array  # type: ignore[attr-defined]


SHIFT_HOURS: Final = 8.0
FIRST_SHIFT: Final = -1.0
"""A night shift begins one hour before midnight."""


def roster_start(start: float) -> float:
    """Hour at which shift 0 of the roster begins: the night shift around the midnight before the simulation starts.

    :param start: hour at which the simulation starts; hour 0 is a midnight
    """
    return 24.0 * np.floor(start / 24.0) + FIRST_SHIFT


def shift_kind(shift: int) -> int:
    """0 day, 1 evening, 2 night of the shift with this index, see :func:`roster_start`."""
    return (shift + 2) % 3


def matched_beds() -> npt.NDArray[np.int64]:
    """Matched bed type by class: critical patients a critical bed, other children a paediatric one, the rest a general one."""
    ages, severities = np.divmod(np.arange(N_CLASSES), N_SEVERITIES)
    return np.where(severities == CRITICAL, CRITICAL_BED, np.where(ages == CHILD, PAEDIATRIC, GENERAL))


def _bed_factors(scenario: "Scenario") -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Factors on benefit and on stay by class and bed type, each (9, 3)."""
    factors = np.ones((2, N_CLASSES, N_BEDS))
    for age in range(N_AGES):
        for severity in range(N_SEVERITIES):
            of_class = factors[:, 3 * age + severity]
            if severity == CRITICAL:
                of_class[:, GENERAL] = of_class[:, PAEDIATRIC] = scenario.critical_in_ward
            elif age == CHILD:
                of_class[:, GENERAL] = scenario.child_in_general
            else:
                of_class[:, PAEDIATRIC] = scenario.adult_in_paediatric
    return factors[0], factors[1]


def build_constants(scenario: "Scenario") -> npt.NDArray[np.void]:
    """The scenario as the kernel reads it: one :data:`CONSTANTS` record, shape (1,)."""
    ages, severities = np.divmod(np.arange(N_CLASSES), N_SEVERITIES)
    critical, child = severities == CRITICAL, ages == CHILD
    routine_ratio, urgent_ratio, child_ratio, critical_ratio = scenario.patients_per_nurse
    overflow = CRITICAL_BED if scenario.alternative_bed == "critical" else PAEDIATRIC
    elderly = np.where(np.arange(N_AGES) == ELDERLY, scenario.elderly_factor, 1.0)
    ratio = np.where(
        critical, critical_ratio, np.where(child, child_ratio, np.where(severities == URGENT, urgent_ratio, routine_ratio))
    )
    benefit, stay = _bed_factors(scenario)

    out = np.zeros(1, dtype=CONSTANTS)
    c = out[0]
    c["beds"], c["block_beds"], c["block_price"] = scenario.beds, scenario.surge_block_beds, scenario.surge_block_price
    c["block_delay"], c["block_hours"] = scenario.surge_block_delay, scenario.surge_block_hours
    c["block_care"] = np.asarray(scenario.surge_block_beds) / np.array([routine_ratio, child_ratio, critical_ratio])
    c["matched"] = matched_beds()
    c["alternative"] = np.where(critical, np.where(child, PAEDIATRIC, GENERAL), np.where(child, GENERAL, overflow))
    c["skill"] = np.where(critical, 2, np.where(child, 1, 0))
    c["care"] = 1.0 / ratio
    c["bed_benefit"], c["bed_stay"] = benefit, stay
    c["target"], c["tau"] = scenario.target_wait, np.outer(elderly, scenario.benefit_tau)
    c["success"], c["shift_need"], c["stretch"] = scenario.success, scenario.shift_need, 1.0 + scenario.critical_stretch
    c["equipment"], c["equipment_in_maintenance"] = scenario.equipment, scenario.equipment_in_maintenance
    c["maintenance_every"], c["maintenance_hours"] = scenario.maintenance_every, scenario.maintenance_hours
    c["budget_rate"], c["budget_cap"] = scenario.budget_per_day / 24.0, scenario.budget_cap
    c["overtime_nurses"], c["overtime_price"] = scenario.overtime_nurses, scenario.overtime_price
    c["overtime_hours"] = scenario.overtime_hours
    c["transfer_price"], c["transfer_hours"] = scenario.transfer_price, scenario.transfer_hours
    c["transfer_benefit"] = scenario.transfer_benefit
    c["slot_rate"], c["slot_cap"] = scenario.transfer_slots_per_day / 24.0, scenario.transfer_slots_cap
    c["wait_reserve"], c["wait_limit"] = scenario.wait_reserve, scenario.wait_limit
    c["start"], c["horizon"] = -scenario.burn_in_hours, scenario.horizon_hours
    c["roster_start"] = roster_start(-scenario.burn_in_hours)
    c["counted_from"], c["counted_until"] = scenario.counted_from, scenario.horizon_hours - scenario.counted_tail
    c["rate_memory"], c["rate_prior"] = scenario.rate_memory, scenario.rate_prior
    c["rate_prior_weight"], c["requests_per_day"] = scenario.rate_prior_weight, scenario.requests_per_day
    c["overtime_threshold"], c["block_threshold"] = scenario.overtime_threshold, scenario.block_threshold
    c["transfer_threshold"], c["overflow_reserve"] = scenario.transfer_threshold, scenario.overflow_reserve
    return out
