"""The four hospitals: the one place where their numbers stand.

Every field of :class:`Scenario` carries its unit, the range that is accepted and where its default comes from; the same
description checks a user's values, fills the comments of the YAML template and makes the table in the documentation.
Values marked ``assumed`` were chosen so that the numbers of one hospital fit together (offered load just above the beds,
nurses about equal to the need at full census); the size of a disparity follows from them, so only differences between
policies are results, never the size itself.

An arrival is a *bed request*: a patient who has to be admitted. Stays are days and waits are boarding hours. Left out on
purpose: step-down from critical care, upgrading out of an unsuitable bed, discharge by hour of the day.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.scenario_files import Bounds, check_fields, read_yaml, write_yaml

SEVERITY_MIXES: Final[dict[str, tuple[float, float, float]]] = {
    "default": (0.60, 0.25, 0.15),
    "mass_casualty": (0.45, 0.25, 0.30),
    "uclh_attendance": (0.49, 0.37, 0.14),
    "uclh_admitted": (0.23, 0.48, 0.29),
}
"""Shares of routine, urgent and critical requests by name. ``default``: the published hospitals' mix, which is a mix of
attendances. ``mass_casualty``: their surge hospital's 30 % critical. ``uclh_attendance``: Manchester triage colours of
110,444 visits at University College London Hospital (blue and green 49 %, yellow 37 %, orange and red 14 %).
``uclh_admitted``: the same weighted by each colour's admission share (2.9, 7.3, 19.5, 31 and 34 %)."""

_HOURS_PER_DAY: Final = 24.0


def _constant(default: Any, unit: str, source: str, low: float, high: float, shape: tuple[int, ...] = ()) -> Any:
    """One documented number (or small table) of a hospital; ``low`` and ``high`` are the accepted range, ends included."""
    return field(default=default, metadata={"bounds": Bounds(unit, source, low, high, shape)})


@dataclass(frozen=True)
class Scenario:
    """A hospital: beds, nurses, patients and prices. Use :func:`dataclasses.replace` to change one, or a YAML file.

    Tables by bed type and by skill are ordered general, paediatric, critical; by age band child, adult, elderly; by
    severity routine, urgent, critical; by shift day (07-15 h), evening (15-23 h), night (23-07 h).
    One unit of price is the full benefit of one routine patient.
    The fields, their units, ranges and sources are listed by :func:`describe` and in the documentation.

    :raises ValueError: if a value is outside its range or shares do not sum to 1; the message names key, value and range
    """

    name: str
    # --- beds -------------------------------------------------------------------------------------------------------
    beds: tuple[int, ...] = _constant((80, 22, 18), "beds by type", "total published, split assumed", 0, 100_000, (3,))
    surge_block_beds: tuple[int, ...] = _constant((8, 4, 3), "beds one surge block adds, by type", "assumed", 0, 10_000, (3,))
    capacity_changes: tuple[tuple[float, float, float, float], ...] = _constant(
        (), "(from hour, to hour, bed type 0-2, change in beds) each", "assumed", -100_000, 100_000, (-1, 4)
    )
    alternative_bed: str = _constant(
        "critical", "alternative bed of adults and elderly: critical or paediatric", "assumed", 0, 0
    )
    # --- arrivals ---------------------------------------------------------------------------------------------------
    requests_per_day: float = _constant(28.5, "bed requests a day", "offered load 1.02 to 1.04 of all beds", 0, 10_000)
    profile: str | tuple[tuple[float, ...], ...] = _constant(
        "england", "arrival profile by weekday and hour: a name, or 7 rows of 24 shares", "NHS England A&E 2024-25", 0, 0
    )
    day_effect_cv: float = _constant(0.08, "coefficient of variation of the day effect", "Iowa ED daily totals", 0, 1)
    ramp: tuple[tuple[float, float], ...] = _constant((), "(day, factor) knots on the rate", "assumed", 0, 100_000, (-1, 2))
    age_mix: tuple[float, ...] = _constant((1 / 3, 1 / 3, 1 / 3), "share by age band", "published hospitals", 0, 1, (3,))
    severity_mix: tuple[float, ...] = _constant(
        SEVERITY_MIXES["default"], "share by severity, or a name of SEVERITY_MIXES", "published hospitals", 0, 1, (3,)
    )
    male_share: float = _constant(0.5, "share of male patients; changes nothing: the negative control", "assumed", 0, 1)
    # --- stays ------------------------------------------------------------------------------------------------------
    mean_stay_days: tuple[tuple[float, ...], ...] = _constant(
        ((2.55, 3.19, 2.52), (4.04, 5.07, 3.40), (6.06, 7.66, 4.56)),
        "mean stay in days, age band x severity",
        "US inpatients with diabetes (0-9, 10-19, 40-49 y), sepsis wards (<= 44, 65-79 y), eICU demo (APACHE 41-60, > 80), "
        "ANZ intensive care 2008-09; routine elderly assumed 1.5 x adult",
        1e-6,
        10_000,
        (3, 3),
    )
    log_sigma_stay: tuple[tuple[float, ...], ...] = _constant(
        ((0.51, 0.66, 0.86), (0.72, 0.80, 1.00), (0.70, 0.80, 1.01)),
        "standard deviation of the log of the stay, age band x severity",
        "the same data sets",
        0,
        5,
        (3, 3),
    )
    service_law: str = _constant(
        "lognormal", "law of the stay: lognormal or exponential (for checks against theory)", "data", 0, 0
    )
    # --- waiting ----------------------------------------------------------------------------------------------------
    need_weight: tuple[float, ...] = _constant((1.0, 2.0, 4.0), "demand of one patient by severity", "assumed", 0, 1000, (3,))
    target_wait: tuple[float, ...] = _constant(
        (8.0, 4.0, 1.0), "target wait in hours by severity", "urgent: the 4-hour standard; others assumed", 1e-6, 10_000, (3,)
    )
    benefit_tau: tuple[float, ...] = _constant(
        (48.0, 24.0, 12.0),
        "hours in which the benefit of a patient past the target falls by 1/e, by severity",
        "critical: inside the range of the delay literature; routine and urgent assumed, far steeper than mortality evidence",
        1e-6,
        1e12,
        (3,),
    )
    stage_hours: tuple[float, ...] = _constant(
        (120.0, 72.0, 96.0), "mean hours waiting until urgent, critical, death", "assumed", 1e-6, 1e12, (3,)
    )
    patience_hours: tuple[float, ...] = _constant(
        (96.0, 144.0, np.inf), "mean hours a patient stays waiting, by severity", "assumed", 1e-12, np.inf, (3,)
    )
    elderly_factor: float = _constant(0.8, "factor on benefit_tau and stage_hours of the elderly", "assumed", 1e-6, 100)
    success: tuple[tuple[float, ...], ...] = _constant(
        ((0.99, 0.97, 0.93), (0.99, 0.96, 0.90), (0.97, 0.92, 0.82)),
        "chance of success if treated at once in the right bed, age band x severity",
        "assumed near eICU demo and PhysioNet 2012 hospital mortality",
        0,
        1,
        (3, 3),
    )
    critical_in_ward: tuple[float, float] = _constant((0.65, 1.2), "factors on benefit and stay", "assumed", 0, 10, (2,))
    child_in_general: tuple[float, float] = _constant((0.85, 1.1), "factors on benefit and stay", "assumed", 0, 10, (2,))
    adult_in_paediatric: tuple[float, float] = _constant((0.85, 1.1), "factors on benefit and stay", "assumed", 0, 10, (2,))
    # --- nurses -----------------------------------------------------------------------------------------------------
    nurses: tuple[int, ...] = _constant(
        (32, 27, 21), "nurses rostered by shift", "sum published, split assumed", 0, 100_000, (3,)
    )
    skill_mix: tuple[float, ...] = _constant((0.48, 0.18, 0.34), "share of nurses by skill", "assumed", 0, 1, (3,))
    patients_per_nurse: tuple[float, ...] = _constant(
        (5.0, 4.0, 4.0, 2.0),
        "patients one nurse cares for: routine, urgent, child, critical",
        "California Title 22 (wards 5, paediatrics 4, intensive care 2); urgent assumed",
        0.01,
        1000,
        (4,),
    )
    shift_need: tuple[float, ...] = _constant(
        (1.0, 0.82, 0.67), "factor on the need for nurses by shift", "assumed", 0, 10, (3,)
    )
    absence: float = _constant(0.063, "share of shifts a nurse is absent", "Chronobiol Int 2020: 38,051 of 601,282", 0, 1)
    absence_covered: float = _constant(0.5, "share of absences that are covered", "assumed", 0, 1)
    critical_stretch: float = _constant(0.10, "share by which a critical admission may stretch the ratios", "assumed", 0, 1)
    # --- equipment --------------------------------------------------------------------------------------------------
    equipment: int = _constant(22, "units; a critical patient in any bed holds one", "assumed", 0, 100_000)
    equipment_in_maintenance: int = _constant(20, "units left while maintenance runs", "assumed", 0, 100_000)
    maintenance_every: float = _constant(72.0, "hours from one maintenance to the next", "assumed", 1, 1e12)
    maintenance_hours: float = _constant(8.0, "hours one maintenance takes", "assumed", 0, 1e12)
    # --- levers -----------------------------------------------------------------------------------------------------
    budget_per_day: float = _constant(1.2, "budget income a day", "assumed", 0, 1e9)
    budget_cap: float = _constant(5.0, "most budget that can be saved; control begins with half", "assumed", 0, 1e9)
    overtime_nurses: float = _constant(4.0, "nurses of one overtime crew, who may nurse anybody", "assumed", 0, 1e6)
    overtime_price: float = _constant(0.8, "price of the crew", "assumed: 0.2 a nurse", 0, 1e9)
    overtime_hours: float = _constant(8.0, "hours the crew works", "one shift", 0.1, 1e6)
    surge_block_price: tuple[float, ...] = _constant(
        (1.6, 1.0, 1.5), "price of a block by bed type", "assumed: 1.0 a nurse for 24 h", 0, 1e9, (3,)
    )
    surge_block_delay: float = _constant(4.0, "hours from the order to the first patient", "assumed", 0, 1e6)
    surge_block_hours: float = _constant(24.0, "hours a block stays open", "assumed", 0.1, 1e6)
    transfer_price: float = _constant(0.7, "price of one transfer", "assumed", 0, 1e9)
    transfer_hours: float = _constant(
        2.0, "hours until the other hospital treats", "NEMSIS 2023-25 call times, arranging assumed", 0, 1e6
    )
    transfer_benefit: float = _constant(0.85, "factor on the benefit of a transferred patient", "assumed", 0, 1)
    transfer_slots_per_day: float = _constant(0.75, "transfer slots that accrue a day", "assumed", 0, 1e6)
    transfer_slots_cap: float = _constant(2.0, "most slots that can be saved; control begins with half", "assumed", 0, 1e6)
    # --- waiting as a decision -----------------------------------------------------------------------------------------
    wait_reserve: int = _constant(
        2, "beds of a type that may be held free while somebody who matches waits", "assumed", 0, 100_000
    )
    wait_limit: float = _constant(2.0, "longest hours one wait, or such a hold, may last", "assumed", 0.01, 1e6)
    # --- the escalation of the rules in use today ------------------------------------------------------------------------
    overtime_threshold: int = _constant(4, "patients waiting at which a rule calls overtime", "assumed", 0, 100_000)
    block_threshold: tuple[int, ...] = _constant(
        (8, 3, 2), "patients waiting for a bed type at which a rule opens a block", "assumed", 0, 100_000, (3,)
    )
    transfer_threshold: int = _constant(8, "patients waiting at which a rule transfers", "assumed", 0, 100_000)
    overflow_reserve: int = _constant(
        2, "free alternative beds beyond which a rule lets adults overflow", "assumed", 0, 100_000
    )
    # --- time ---------------------------------------------------------------------------------------------------------
    burn_in_hours: float = _constant(168.0, "hours under the triage rule before control", "one week", 0, 100_000)
    horizon_hours: float = _constant(504.0, "hours under control", "assumed: three weeks, Rural six", 1, 100_000)
    counted_from: float = _constant(48.0, "arrivals before this hour are not counted", "warm-up", 0, 1e9)
    counted_tail: float = _constant(72.0, "arrivals in the last hours are not counted", "cool-down", 0, 1e9)
    start_occupancy_cap: float = _constant(0.97, "most of the beds of a type taken at the start", "assumed", 0, 1)
    # --- what a learner is told -----------------------------------------------------------------------------------------
    discount_stays: float = _constant(2.0, "discount time in mean stays", "measured: 2 to 4 learn alike", 0.01, 1e6)
    rate_memory: float = _constant(96.0, "hours of memory of the observed benefit rate per group", "assumed", 1e-3, 1e12)
    rate_prior: float = _constant(0.85, "its prior", "assumed", 0, 1)
    rate_prior_weight: float = _constant(20.0, "weight of that prior, in units of demand", "assumed", 1e-6, 1e9)

    def __post_init__(self) -> None:
        if isinstance(self.severity_mix, str):
            if self.severity_mix not in SEVERITY_MIXES:
                raise ValueError(
                    f"severity_mix: got {self.severity_mix!r}, expected three shares or one of {sorted(SEVERITY_MIXES)}"
                )
            object.__setattr__(self, "severity_mix", SEVERITY_MIXES[self.severity_mix])
        check_fields(self)

    # What follows is derived; nothing of it is stored.

    @property
    def class_mix(self) -> npt.NDArray[np.float64]:
        """Share of requests by age band and severity, shape (3, 3); age and severity are independent."""
        return np.outer(self.age_mix, self.severity_mix)

    @property
    def mean_stay_hours(self) -> float:
        """Mean stay over all requests, in hours."""
        return float((self.class_mix * np.asarray(self.mean_stay_days)).sum()) * _HOURS_PER_DAY

    @property
    def discount_time(self) -> float:
        """Time constant of the discount in hours: exp(-elapsed / discount_time) per step."""
        return self.discount_stays * self.mean_stay_hours

    @property
    def offered_load(self) -> npt.NDArray[np.float64]:
        """Offered load by matched bed type, shape (3,): bed-hours asked for per hour of regular beds (ramp left out)."""
        bed_days = self.requests_per_day * self.class_mix * np.asarray(self.mean_stay_days)
        wanted = np.array([bed_days[1:, :2].sum(), bed_days[0, :2].sum(), bed_days[:, 2].sum()])
        beds = np.asarray(self.beds, dtype=np.float64)
        return np.divide(wanted, beds, out=np.where(wanted > 0, np.inf, 0.0), where=beds > 0)

    @property
    def offered_load_all_beds(self) -> float:
        """Offered load of all regular beds together (ramp left out)."""
        return self.requests_per_day * self.mean_stay_hours / _HOURS_PER_DAY / sum(self.beds)

    @property
    def nurses_needed(self) -> npt.NDArray[np.float64]:
        """Nurses needed at full census by shift, shape (3,), with the mix of stays that the requests ask for."""
        routine, urgent, child, critical = self.patients_per_nurse
        ratio = np.array([[child, child, critical], [routine, urgent, critical], [routine, urgent, critical]])
        bed_days = self.class_mix * np.asarray(self.mean_stay_days)
        return sum(self.beds) * float((bed_days / ratio).sum() / bed_days.sum()) * np.asarray(self.shift_need)

    def to_yaml(self, path: str) -> None:
        """Write the hospital as a commented YAML file, a template for one's own.

        :param path: the file to write
        """
        write_yaml(self, path)

    @classmethod
    def from_yaml(cls, path: str) -> "Scenario":
        """Read a hospital; keys that are left out keep this class's defaults, unless ``base`` names one of :data:`SCENARIOS`.

        :param path: a YAML file as :meth:`to_yaml` writes it
        :raises ValueError: naming the file, the key, the value and what is accepted
        """
        values = read_yaml(path)
        base = values.pop("base", None)
        if base is not None and not (isinstance(base, str) and base in SCENARIOS):
            raise ValueError(f"{path}: base: got {base!r}, expected one of {sorted(SCENARIOS)}")
        start = SCENARIOS[base] if base else cls(name="custom")
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise ValueError(f"{path}: unknown key {key!r}; known keys are base, {', '.join(known)}")
        try:
            return replace(start, **values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def describe(scenario: Scenario) -> list[tuple[str, Any, str, str]]:
    """Rows (key, value, unit, source) of every number of a hospital, for tables and templates."""
    return [
        (f.name, getattr(scenario, f.name), f.metadata["bounds"].unit, f.metadata["bounds"].source)
        for f in fields(scenario)
        if "bounds" in f.metadata
    ]


URBAN: Final = Scenario(name="Urban")

RURAL: Final = Scenario(
    name="Rural",
    beds=(31, 3, 6),
    surge_block_beds=(3, 2, 2),
    age_mix=(0.15, 0.45, 0.40),
    requests_per_day=8.6,
    nurses=(10, 8, 7),
    skill_mix=(0.50, 0.10, 0.40),
    overtime_nurses=2.0,
    overtime_price=0.4,
    surge_block_price=(0.6, 0.5, 1.0),
    transfer_price=0.8,
    transfer_hours=4.0,
    transfer_slots_per_day=0.4,
    budget_per_day=0.7,
    budget_cap=3.0,
    equipment=8,
    equipment_in_maintenance=7,
    horizon_hours=1008.0,
    wait_reserve=1,
)

PEDIATRIC: Final = Scenario(
    name="Pediatric",
    beds=(17, 34, 9),
    surge_block_beds=(4, 4, 2),
    age_mix=(0.75, 0.15, 0.10),
    requests_per_day=19.0,
    nurses=(18, 15, 12),
    skill_mix=(0.20, 0.46, 0.34),
    overtime_nurses=3.0,
    overtime_price=0.6,
    surge_block_price=(0.8, 1.0, 1.0),
    transfer_slots_per_day=0.4,
    budget_per_day=0.8,
    budget_cap=3.0,
    alternative_bed="paediatric",
    equipment=12,
    equipment_in_maintenance=11,
    wait_reserve=1,
    overflow_reserve=1,
)

SURGE: Final = Scenario(
    name="Surge",
    beds=(92, 14, 44),
    surge_block_beds=(12, 6, 9),
    # Bays closed for infection control before the surge, as many bed-hours opened at its height: the mean stays 92.
    capacity_changes=((48.0, 120.0, 0.0, -6.0), (240.0, 312.0, 0.0, 6.0)),
    age_mix=(0.20, 0.45, 0.35),
    severity_mix=SEVERITY_MIXES["mass_casualty"],
    requests_per_day=34.0,
    ramp=((4.0, 0.8), (9.0, 1.35), (14.0, 1.35), (18.0, 1.0)),
    nurses=(48, 40, 32),
    skill_mix=(0.42, 0.08, 0.50),
    overtime_nurses=6.0,
    overtime_price=1.2,
    surge_block_price=(2.4, 1.5, 4.5),
    transfer_price=0.9,
    budget_per_day=3.6,
    budget_cap=15.0,
    alternative_bed="paediatric",
    equipment=48,
    equipment_in_maintenance=46,
    overflow_reserve=1,
)

SCENARIOS: Final[dict[str, Scenario]] = {s.name: s for s in (URBAN, RURAL, PEDIATRIC, SURGE)}
"""The four hospitals by name; the names are those of the environment ids ``Hospital-<name>-v0``."""


def load_scenario(scenario: "Scenario | str") -> Scenario:
    """The hospital meant by a dataclass, a name (``"Urban"`` or ``"Hospital-Urban-v0"``) or the path of a YAML file.

    :raises ValueError: if it is none of these
    """
    if isinstance(scenario, Scenario):
        return scenario
    name = str(scenario).removeprefix("Hospital-").removesuffix("-v0").capitalize()
    if name in SCENARIOS:
        return SCENARIOS[name]
    if str(scenario).endswith((".yml", ".yaml")):
        return Scenario.from_yaml(str(scenario))
    raise ValueError(f"scenario: got {scenario!r}, expected one of {sorted(SCENARIOS)} or the path of a .yml or .yaml file")
