"""The hospital as a Gymnasium environment: a thin shell around one simulator."""

import operator
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from hospital_gym.arrival_files import read_arrivals
from hospital_gym.checks import check_whole
from hospital_gym.rendering import draw_hospital, print_hospital
from hospital_gym.scenarios import Scenario, load_scenario
from hospital_gym.simulator.layout import N_ACTIONS
from hospital_gym.simulator.simulator import Simulator, Snapshot


class HospitalEnv(gym.Env[npt.NDArray[np.float32], np.int64]):
    """
    ## Description

    Bed requests come to a hospital with general, paediatric and critical-care beds. Whenever somebody waits for whom something
    can be done, the agent decides: admit the head of a queue to the matched or to an alternative bed, transfer it to another
    hospital, call an overtime crew, open a block of surge beds, or wait. Patients who wait worsen, leave or die, and the
    benefit they can still get decays once their target wait is over. An episode is 168 h under the triage rule (nobody
    decides), then three weeks under control (six in Rural); it ends by truncation. The clock starts on a Monday at 00:00.

    Research software: the numbers describe no real hospital, and the benefit is a utility of timely care, not survival.

    ## Action Space

    `Discrete(32)`. Queue classes are age band x current severity: class = 3 x age band (child, adult, elderly) + severity
    (routine, urgent, critical). The head of a class is whoever arrived first.

    | Num | Action | Valid |
    |---|---|---|
    | 0-8 | admit the head of the class to its matched bed | bed free and staffed, equipment free if critical |
    | 9-17 | admit it to the alternative bed | the same for that bed |
    | 18-26 | transfer it | slot and budget there, action 0-8 of the class is not valid |
    | 27 | call an overtime crew | staff keeps somebody from a free bed, none working, budget there |
    | 28-30 | order a surge block (general, paediatric, critical) | type full and wanted, none ordered or open, budget there |
    | 31 | wait for the next event, at most `wait_limit` | at most `wait_reserve` beds of a type held free |

    Matched: critical patients a critical bed, other children a paediatric one, other adults a general one. Alternative:
    critical adults a general bed, critical children a paediatric one; children otherwise a general one; adults otherwise a
    critical or a paediatric one, by hospital. An invalid action is carried out as the triage rule's choice and reported in
    `info["invalid_action"]`; valid ones are in `info["action_mask"]` and `action_masks()`.

    ## Observation Space

    A flat float32 `Box` with the fields of `hospital_gym.observation.FIELDS`: per class the count, longest and mean wait
    relative to the target; per bed type free, occupied, closed and held-free; who occupies them; nurses to spare; equipment;
    budget, transfer slots and timers; hour and week; arrivals of the last 24 h; the recent benefit rate of each group; the
    mask. `ObservationLayout` gives each field's place, unit and limits. It holds no time to the end.

    ## Rewards

    The benefit decided in the step less its cost. A patient's benefit is the need weight (1, 2, 4 by severity at arrival)
    x what is left of it after the wait x the factor of the bed. Those who leave, die or are still waiting bring nothing.
    Costs are the prices of transfers, overtime crews and surge blocks; one unit is one routine patient's full benefit.

    ## `info` of every step

    | Key | Type | Meaning |
    |---|---|---|
    | `group_id` | int | group of the patient the decision concerned, -1 if none |
    | `group_rewards` | float32 (G,) | the reward split by group; shared cost is charged by expected demand share |
    | `group_exposure` | float32 (G,) | demand whose fate was decided in this step; on the last step also those waiting |
    | `elapsed` | float | hours until the next decision |
    | `action_mask` | bool (32,) | valid actions now |
    | `invalid_action` | bool | the action was invalid, the triage rule acted in its place |
    | `episode_records` | structured array | on the last step: one row per patient (`hospital_gym.records.RECORD_DTYPE`) |
    | `episode_cost` | float | on the last step: cost inside the counted window |
    | `episode_utilisation` | dict | on the last step: hours used and available of each of `hospital_gym.records.RESOURCES` |

    `reset` gives `episode` and `action_mask`. Attributes for learners: `group_names`, `discount_time` (hours),
    `performance_scale` (five points of benefit rate are one unit).

    ## Starting State

    Beds hold the remainders of stays at -168 h; the triage rule plays until 0. `reset(seed=s)` begins episode
    `episode_offset` of seed s, `reset()` goes on by `episode_stride`, `reset(options={"episode": k})` jumps to episode k.
    Episode k of seed s has the same patients whatever is decided, in however many environments or processes.

    ## Episode End

    Truncation at the horizon (504 h; Rural 1008 h). Never termination.

    ## Version History

    v0: first version.

    :param scenario: a :class:`~hospital_gym.scenarios.Scenario`, the name of one, or the path of a YAML file
    :param arrivals: path of a CSV file of arrivals to replay, or None to draw them. The attribute `arrival_windows` is the
        number of different episodes in it; those beyond replay the same hours again
    :param group_by: attributes (`age_band`, `sex`, `quintile`, `severity`) whose combinations are the groups; None for the
        published four: pediatric, adult, elderly (non-critical) and critical
    :param render_mode: `"rgb_array"` for a picture, `"ansi"` for text, or None
    :param episode_offset: number of the first episode after `reset(seed=...)`
    :param episode_stride: by how much `reset()` goes on; environment i of n plays offset i with stride n
    :raises ValueError: naming the argument, its value and what is accepted
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}  # type: ignore[misc]
    performance_scale = 0.05

    def __init__(
        self,
        scenario: Scenario | str = "Urban",
        arrivals: str | None = None,
        group_by: Sequence[str] | None = None,
        render_mode: str | None = None,
        episode_offset: int = 0,
        episode_stride: int = 1,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode: got {render_mode!r}, expected one of {self.metadata['render_modes']} or None")
        check_whole("episode_offset", episode_offset, 0)
        check_whole("episode_stride", episode_stride, 1)
        self.scenario = load_scenario(scenario)
        self.simulator = Simulator(self.scenario, group_by, None if arrivals is None else read_arrivals(arrivals))
        self.arrival_windows = self.simulator.arrival_windows
        self.group_names = self.simulator.grouping.names
        self.discount_time = self.scenario.discount_time
        self.render_mode = render_mode
        low, high = self.simulator.layout.limits()
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Discrete(N_ACTIONS)
        self._offset, self._stride = episode_offset, episode_stride
        self._seed: int | None = None
        self._episode = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Begin the next episode.

        :param seed: begin the sequence of episodes of this seed; None goes on with the present one (a random one at first)
        :param options: `{"episode": k}` jumps to episode k of the sequence
        :return: observation, and `info` with `episode` and `action_mask`
        :raises ValueError: if seed, options or the episode are not what they must be
        """
        if seed is not None:
            check_whole("seed", seed, 0, most=None)
        if options is not None and not (isinstance(options, dict) and set(options) <= {"episode"}):
            raise ValueError(f"options: got {options!r}, expected None or {{'episode': number}}")
        super().reset(seed=seed)
        if options and "episode" in options:
            check_whole("options['episode']", options["episode"], 0)
        self.begin(seed, options["episode"] if options and "episode" in options else None)
        return self.simulator.observation.copy(), {"episode": self._episode, "action_mask": self.action_masks()}

    def begin(self, seed: int | None = None, episode: int | None = None) -> int:
        """As :meth:`reset`, without checks, observation and info.

        :param seed: see there
        :param episode: number of the episode to jump to
        :return: the number of the episode
        """
        if seed is not None or self._seed is None:
            self._seed = int(self.np_random.integers(2**31)) if seed is None else seed
            self._episode = self._offset
        else:
            self._episode += self._stride
        if episode is not None:
            self._episode = int(episode)
        self.simulator.reset(self._seed, self._episode)
        return self._episode

    def step(self, action: np.int64 | int) -> tuple[npt.NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one decision; see the class for the tables.

        :param action: an action number; an invalid one acts as the triage rule's choice
        :return: observation, reward, terminated (always False), truncated (at the horizon), info
        :raises ValueError: if the number is no action at all
        :raises RuntimeError: if the episode is over
        """
        simulator = self.simulator
        try:
            number = operator.index(action)
        except TypeError:
            number = -1
        if not 0 <= number < N_ACTIONS:
            raise ValueError(f"action: got {action!r}, expected a whole number from 0 to {N_ACTIONS - 1}")
        if self._seed is None or simulator.done:
            raise RuntimeError("step() needs a running episode: call reset() first")
        result = simulator.step(number)
        info: dict[str, Any] = {
            "group_id": result.group,
            "group_rewards": simulator.group_rewards.copy(),
            "group_exposure": simulator.group_exposure.copy(),
            "elapsed": result.elapsed,
            "action_mask": simulator.mask.copy(),
            "invalid_action": result.invalid,
        }
        if result.done:
            info.update(self.episode_items())
        return simulator.observation.copy(), result.reward, False, result.done, info

    def episode_items(self) -> dict[str, Any]:
        """What `info` holds on the last step of an episode beside the items of every step."""
        return {
            "episode_records": self.simulator.records(),
            "episode_cost": self.simulator.counted_cost,
            "episode_utilisation": self.simulator.utilisation(),
        }

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Which actions are valid now, shape (32,)."""
        return self.simulator.mask.copy()

    def snapshot(self) -> Snapshot:
        """The full state of the hospital, for planning; see :meth:`restore`."""
        return self.simulator.snapshot()

    def restore(self, snapshot: Snapshot) -> npt.NDArray[np.float32]:
        """Go back to a snapshot, possibly of another environment of the same scenario; what follows is identical.

        :param snapshot: what :meth:`snapshot` returned
        :return: the observation at that moment
        """
        self.simulator.restore(snapshot)
        self._seed, self._episode = snapshot.seed, snapshot.episode
        return self.simulator.observation.copy()

    def redraw_future(self, seed: int) -> None:
        """Let the episode go on differently: who arrives later, stays and clocks not yet over, and absences are drawn anew.

        Whoever plans needs this: a snapshot holds all that will happen, and nobody in a hospital knows that. Here what has
        happened stays as it is, and what follows is a fair draw given that; see :mod:`hospital_gym.simulator.futures`.

        :param seed: seed of the draw, >= 0
        :raises RuntimeError: if no episode was begun
        """
        self.simulator.redraw_future(seed)

    def render(self) -> npt.NDArray[np.uint8] | str | None:
        """Wards, queues and who waits how long by group: a picture or text, as `render_mode` says.

        :raises RuntimeError: if no episode was begun
        """
        if self.render_mode is not None and self._seed is None:
            raise RuntimeError("render() needs an episode: call reset() first")
        if self.render_mode == "ansi":
            return print_hospital(self.simulator)
        if self.render_mode == "rgb_array":
            return draw_hospital(self.simulator)
        return None
