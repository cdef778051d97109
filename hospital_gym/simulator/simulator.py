"""One hospital: the compiled kernel with its arrays, and the patient records at the end."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hospital_gym.arrival_files import ArrivalFile
from hospital_gym.groups import Grouping
from hospital_gym.observation import ObservationLayout
from hospital_gym.records import RECORD_DTYPE, RESOURCES
from hospital_gym.scenarios import Scenario
from hospital_gym.simulator import kernel
from hospital_gym.simulator.draws import Draws, count_windows, draw_episode
from hospital_gym.simulator.futures import redraw
from hospital_gym.simulator.layout import (
    EVENT,
    GROUP,
    HOSPITAL,
    N_ACTIONS,
    NURSES,
    SHIFT_HOURS,
    build_constants,
    for_kernel,
    roster_start,
)
from hospital_gym.simulator.recording import count_records, write_records


class Snapshot(NamedTuple):
    """The full state of a :class:`Simulator`; restoring it continues identically."""

    scenario: Scenario
    group_names: tuple[str, ...]
    seed: int
    episode: int
    arrays: tuple[npt.NDArray[Any], ...]


class StepResult(NamedTuple):
    """What one decision brought.

    :param group: group of the patient it concerned, -1 if it concerned none
    :param invalid: the action was invalid and the triage rule chose instead
    :param elapsed: simulated hours until the next decision
    :param reward: sum of ``group_rewards``, in double precision
    :param done: the horizon is reached
    """

    group: int
    invalid: bool
    elapsed: float
    reward: float
    done: bool


class Simulator:
    """Patient flow through one hospital, one decision at a time.

    ``observation``, ``mask``, ``group_rewards`` and ``group_exposure`` are overwritten by every step: copy what is to be kept.

    :param scenario: the hospital
    :param group_by: see :class:`hospital_gym.groups.Grouping`
    :param arrivals: replay these arrivals instead of drawing them; ``arrival_windows`` says how many episodes they hold
    :raises ValueError: if they do not hold one episode
    """

    def __init__(self, scenario: Scenario, group_by: Sequence[str] | None = None, arrivals: ArrivalFile | None = None) -> None:
        self.scenario = scenario
        self.grouping = Grouping(scenario, group_by)
        self.arrivals = arrivals
        self.arrival_windows = None if arrivals is None else count_windows(scenario, arrivals)
        n_groups = len(self.grouping.names)
        self.layout = ObservationLayout(n_groups)
        self.observation = np.zeros(self.layout.size, dtype=np.float32)
        self.mask = np.zeros(N_ACTIONS, dtype=np.bool_)
        self.group_rewards = np.zeros(n_groups, dtype=np.float32)
        self.group_exposure = np.zeros(n_groups, dtype=np.float32)
        self.seed = self.episode = -1
        self.constants = for_kernel(build_constants(scenario))
        self.capacity_changes = np.asarray(scenario.capacity_changes, dtype=np.float64).reshape(-1, 4)

    def reset(self, seed: int, episode: int = 0) -> None:
        """Begin an episode: burn in under triage and stop at the first decision.

        :param seed: seed of the sequence of episodes, >= 0
        :param episode: number of the episode in that sequence, >= 0
        """
        self.seed, self.episode = seed, episode
        self.begin(draw_episode(self.scenario, self.grouping, seed, episode, self.arrivals))

    def begin(self, draws: Draws) -> None:
        """Begin an episode with these draws instead of those of a seed.

        :param draws: what :func:`hospital_gym.simulator.draws.draw_episode` returns, or made by hand
        """
        hospital = np.zeros(1, dtype=HOSPITAL)
        hospital["next_maintenance"] = draws.first_maintenance
        groups = np.zeros(len(self.grouping.names), dtype=GROUP)
        groups["demand_share"] = self.grouping.demand_share
        n = len(draws.patients)
        self._hold(hospital, draws.patients, np.empty(n + 1), np.empty((2, n), dtype=EVENT), groups, draws.nurses)
        kernel.begin(*self._arguments, self.observation)

    def _hold(self, *state: npt.NDArray[Any]) -> None:
        """Take over the arrays that make up the state of an episode."""
        self._hospital, self._patients, self._arrivals, self._events, self._groups, self._nurses = map(for_kernel, state)
        self._arguments = (
            self._hospital,
            self.constants,
            self._patients,
            self._arrivals,
            self._events,
            self._groups,
            self._nurses,
            self.capacity_changes,
            self.mask,
        )

    def step(self, action: int) -> StepResult:
        """Take one decision and let time pass until the next.

        :param action: an action number; an invalid one is replaced by the triage rule's choice
        """
        group, invalid, elapsed, reward, _ = kernel.step(
            *self._arguments, self.observation, self.group_rewards, self.group_exposure, int(action)
        )
        return StepResult(group, invalid, elapsed, reward, self.done)

    def run_triage(self) -> None:
        """Play to the horizon under the triage rule, in compiled code."""
        kernel.run_triage(*self._arguments)

    def triage_choice(self) -> int:
        """The action the triage rule would take now."""
        return int(kernel.triage_choice(self._hospital, self.constants, self.mask)[0])

    @property
    def state(self) -> Any:
        """The :data:`~hospital_gym.simulator.layout.HOSPITAL` record, for reading."""
        return self._hospital.view(np.recarray)[0]

    @property
    def patients(self) -> Any:
        """The :data:`~hospital_gym.simulator.layout.PATIENT` records, for reading."""
        return self._patients.view(np.recarray)

    @property
    def groups(self) -> Any:
        """The :data:`~hospital_gym.simulator.layout.GROUP` records, for reading."""
        return self._groups.view(np.recarray)

    @property
    def nurses(self) -> npt.NDArray[np.int64]:
        """Nurses present by shift and skill, shape (shifts, 3)."""
        return self._nurses

    @property
    def time(self) -> float:
        """Hours since control began."""
        return float(self._hospital["time"][0])

    @property
    def done(self) -> bool:
        """Whether the horizon is reached."""
        return bool(self._hospital["done"][0])

    @property
    def counted_cost(self) -> float:
        """Cost of levers and transfers inside the counted window."""
        return float(self._hospital["counted_cost"][0])

    def utilisation(self) -> dict[str, tuple[float, float]]:
        """Hours used and hours available of each of :data:`~hospital_gym.records.RESOURCES`, from hour 0 to now.

        Beds: occupied and open, surge beds included. Nurses: needed by those in beds and present, with overtime crews and
        those of surge blocks; need exceeds presence where absence left too few. Equipment: held and not in maintenance.
        """
        hospital = self._hospital[0]
        used, available = hospital["used_hours"].tolist(), hospital["open_hours"].tolist()
        on_duty = _shift_hours(-self.scenario.burn_in_hours, len(self._nurses), self.time)
        available[NURSES] += float(on_duty @ self._nurses.sum(axis=1))
        return dict(zip(RESOURCES, zip(used, available, strict=True), strict=True))

    def snapshot(self) -> Snapshot:
        """The full state, to be restored later, in this simulator or in another one of the same scenario.

        :raises RuntimeError: if no episode was begun
        """
        if self.episode < 0:
            raise RuntimeError("snapshot() needs an episode: call reset() first")
        outputs = (self.observation, self.group_rewards, self.group_exposure)
        held = (self._hospital, self._patients, self._arrivals, self._events, self._groups, self._nurses)
        state = tuple(np.array(a) for a in (*held, self.mask, *outputs))
        return Snapshot(self.scenario, self.grouping.names, self.seed, self.episode, state)

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot.

        :param snapshot: what :meth:`snapshot` returned
        :raises ValueError: if it is of another hospital or has other groups
        """
        if (snapshot.scenario, snapshot.group_names) != (self.scenario, self.grouping.names):
            raise ValueError(
                f"snapshot: got one of {snapshot.scenario.name!r} with groups {snapshot.group_names}, expected the same "
                f"scenario and groups as here: {self.scenario.name!r}, {self.grouping.names}"
            )
        self.seed, self.episode = snapshot.seed, snapshot.episode
        *state, mask, observation, rewards, exposure = (a.copy() for a in snapshot.arrays)
        self._hold(*state)
        self.mask[:], self.observation[:] = mask, observation
        self.group_rewards[:], self.group_exposure[:] = rewards, exposure

    def redraw_future(self, seed: int) -> None:
        """Replace what has not happened yet by another draw of it, given what has; see :mod:`hospital_gym.simulator.futures`.

        :param seed: seed of that draw, >= 0
        :raises RuntimeError: if no episode was begun
        """
        if self.episode < 0:
            raise RuntimeError("redraw_future() needs an episode: call reset() first")
        hospital, constants, known, groups, nurses = map(
            np.asarray, (self._hospital, self.constants, self._patients, self._groups, self._nurses)
        )
        rng = np.random.default_rng(seed)
        patients, arrivals, events, nurses = redraw(
            self.scenario, self.grouping, constants[0], hospital[0], known, nurses, rng
        )
        self._hold(hospital, patients, arrivals, events, groups, nurses)

    def records(self) -> npt.NDArray[np.void]:
        """One :data:`~hospital_gym.records.RECORD_DTYPE` row per patient whose fate was not decided before control began."""
        count, _ = count_records(self._hospital, self._patients)
        out = np.empty(count, dtype=RECORD_DTYPE)
        write_records(self._hospital, self.constants, self._patients, self.episode, for_kernel(out))
        return out


@lru_cache(maxsize=32)
def _shift_hours(start: float, n_shifts: int, time: float) -> npt.NDArray[np.float64]:
    """How many hours of each shift lie between hour 0 and ``time``; not to be written to.

    :param start: hour at which the simulation starts
    """
    begins = roster_start(start) + SHIFT_HOURS * np.arange(n_shifts)
    hours = np.clip(np.minimum(begins + SHIFT_HOURS, time) - np.maximum(begins, 0.0), 0.0, None)
    hours.flags.writeable = False
    return hours
