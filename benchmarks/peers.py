"""The same patients through the compiled simulator, SimPy and Ciw: one ward, two priorities, first come first served in each.

    taskset -c 0 python -m benchmarks.peers --markdown docs/results/benchmark-peers.md

The hospital is reduced to general beds with nurses for all and no way out: M/G/c with log-normal stays, urgent before routine.
Arrivals and stays are drawn once and fed to all three, whose waits must agree for every patient. Drawing them is not timed.
Neither are observations: the triage rule decides inside compiled code.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import ciw
import numpy as np
import numpy.typing as npt
import simpy

from benchmarks.tables import Measured, machine, ratio, report
from hospital_gym.scenarios import Scenario
from hospital_gym.simulator.draws import Draws, draw_episode
from hospital_gym.simulator.simulator import Simulator

BEDS: Final = 60
LOAD: Final = 0.95
STAY_DAYS: Final = 4.5
LEAST_STAYS: Final = 20
"""Nobody arrives in so many mean stays before the horizon, so that everybody gets a bed."""

Floats = npt.NDArray[np.float64]


def ward(patients: int) -> Scenario:
    """The reduced hospital; it opens empty and lasts until about so many patients came."""
    per_day = LOAD * BEDS / STAY_DAYS
    return Scenario(
        name="ward",
        beds=(BEDS, 0, 0),
        surge_block_beds=(0, 0, 0),
        requests_per_day=per_day,
        profile="flat",
        day_effect_cv=0.0,
        age_mix=(0.0, 1.0, 0.0),
        severity_mix=(0.7, 0.3, 0.0),
        mean_stay_days=((STAY_DAYS,) * 3,) * 3,
        log_sigma_stay=((0.8,) * 3,) * 3,
        stage_hours=(1e12, 1e12, 1e12),
        patience_hours=(np.inf, np.inf, np.inf),
        nurses=(100_000, 100_000, 100_000),
        absence=0.0,
        transfer_slots_per_day=0.0,
        transfer_slots_cap=0.0,
        start_occupancy_cap=0.0,
        burn_in_hours=0.0,
        horizon_hours=24.0 * (patients / per_day + LEAST_STAYS * STAY_DAYS),
    )


def draw(simulator: Simulator, patients: int) -> Draws:
    """The first so many patients of an episode."""
    draws = draw_episode(simulator.scenario, simulator.grouping, 0, 0)
    return draws._replace(patients=draws.patients[:patients])


def in_kernel(simulator: Simulator, draws: Draws) -> Floats:
    """The wait of every patient in hours, as of the next two."""
    simulator.begin(draws)
    simulator.run_triage()
    patients = np.asarray(simulator.patients)
    return np.asarray(patients["decided"] - patients["arrival"])


def in_simpy(arrivals: list[float], stays: list[float], priorities: list[int]) -> Floats:
    """SimPy: a process for each patient, and a ``PriorityResource``."""
    env = simpy.Environment()
    beds = simpy.PriorityResource(env, capacity=BEDS)
    waits = np.zeros(len(arrivals))

    def patient(number: int) -> Generator[Any, Any, None]:
        with beds.request(priority=priorities[number]) as bed:
            yield bed
            waits[number] = env.now - arrivals[number]
            yield env.timeout(stays[number])

    def source() -> Generator[Any, Any, None]:
        for number, arrival in enumerate(arrivals):
            yield env.timeout(arrival - env.now)
            env.process(patient(number))

    env.process(source())
    env.run()
    return waits


def in_ciw(arrivals: Floats, stays: Floats, priorities: npt.NDArray[np.int64]) -> Floats:
    """Ciw: a node with priority classes."""
    names = ("urgent", "routine")
    between, service = {}, {}
    for priority, name in enumerate(names):
        ours = priorities == priority
        between[name] = [ciw.dists.Sequential([*np.diff(arrivals[ours], prepend=0.0).tolist(), np.inf])]
        service[name] = [ciw.dists.Sequential(stays[ours].tolist())]
    network = ciw.create_network(
        arrival_distributions=between,
        service_distributions=service,
        number_of_servers=[BEDS],
        priority_classes={name: priority for priority, name in enumerate(names)},
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(float(arrivals[-1]) + 24.0 * LEAST_STAYS * STAY_DAYS * 10)
    records = sorted(simulation.get_all_records(), key=lambda record: record.arrival_date)
    return np.array([record.waiting_time for record in records])


def measure(contestants: dict[str, Callable[[], Floats]], repetitions: int) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Seconds of each, measured in turn, (repetitions,), and the waits it found.

    :raises RuntimeError: if waits differ
    """
    waits = {name: play() for name, play in contestants.items()}  # everything is compiled
    expected = next(iter(waits.values()))
    for name, found in waits.items():
        if found.shape != expected.shape or not np.allclose(found, expected, rtol=0.0, atol=1e-5):
            raise RuntimeError(f"{name}: waits differ; mean {found.mean():.6f} h, expected {expected.mean():.6f} h")
    seconds = {name: np.zeros(repetitions) for name in contestants}
    for repetition in range(repetitions):
        for name, play in contestants.items():
            began = time.process_time()
            play()
            seconds[name][repetition] = time.process_time() - began
    return seconds, waits


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=20_000, metavar="N", help="patients (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=7, metavar="N", help="measurements of each (%(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to this file")
    options = parser.parse_args()
    load, simulator = os.getloadavg()[0], Simulator(ward(options.patients))
    draws = draw(simulator, options.patients)
    patients = np.asarray(draws.patients)
    severity = patients["severity_arrival"].astype(np.int64)
    arrivals, stays = patients["arrival"].copy(), patients["service_hours"][np.arange(len(patients)), severity]
    lists = arrivals.tolist(), stays.tolist(), (1 - severity).tolist()
    contestants: dict[str, Callable[[], Floats]] = {
        "hospital_gym": lambda: in_kernel(simulator, draws._replace(patients=draws.patients.copy())),
        "SimPy": lambda: in_simpy(*lists),
        "Ciw": lambda: in_ciw(arrivals, stays, 1 - severity),
    }
    seconds, waits = measure(contestants, options.repetitions)
    rows: list[tuple[str, ...]] = [
        (
            name,
            f"{len(patients) / taken.min():,.0f}",
            f"{1e6 * taken.min() / len(patients):.2f}",
            f"{waits[name][severity == 1].mean():.6f}",
            f"{waits[name][severity == 0].mean():.6f}",
            ratio(taken, seconds["hospital_gym"]),
        )
        for name, taken in seconds.items()
    ]
    header = ("simulator", "patients/s", "µs each", "mean wait, urgent (h)", "mean wait, routine (h)", "times our time")
    note = f"""The same {len(patients):,} patients in a ward of {BEDS} beds, load {LOAD}, log-normal stays of mean
{STAY_DAYS} days, urgent before routine; waits agree for every patient to 1e-5 h. Fastest of {options.repetitions} measurements
taken in turn, in seconds for which the process had a core; in brackets the range of the ratios.

{machine(load, f"SimPy {simpy.__version__}", f"Ciw {ciw.__version__}")}"""
    report([Measured(header, rows)], note, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
