"""Treatment of sepsis as a sequence of decisions about one patient."""

import operator
import os
from typing import Any, ClassVar, Final

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from hospital_gym.checks import check_whole
from hospital_gym.clinical.sepsis.course import Courses, Snapshot
from hospital_gym.clinical.sepsis.grouping import GROUPINGS, start_groups
from hospital_gym.clinical.sepsis.mdp import SepsisMDP, read_mdp
from hospital_gym.clinical.sepsis.observation import HistoryObservation, Observation, first_row
from hospital_gym.clinical.sepsis.rendering import draw_course, print_course

_THE_ONE: Final = np.zeros(1, dtype=np.int64)


class SepsisTreatmentEnv(gym.Env[Observation, np.int64]):
    """
    ## Description

    A patient with sepsis is in intensive care. Every four hours the agent chooses how much fluid and vasopressor to give,
    until the stay ends. How patients respond is ICU-Sepsis (Choudhary, Gupta and Thomas, RLC 2024): a decision problem of 716
    states, estimated from the records of MIMIC-III. So the value of a policy can be computed exactly
    (:mod:`hospital_gym.clinical.sepsis.exact`).

    Research software, not a medical device: states are clusters of records, and what does well here is no evidence of benefit
    to patients.

    ## Action Space

    `Discrete(25)`: 5 x the level of intravenous fluids + the level of vasopressors; 0 is none, 1 to 4 are the quarters of the
    doses that were given. An action that clinicians took no more than 20 times in a state is inadmissible there: it acts as a
    random admissible one, and `info["invalid_action"]` says so. Admissible ones are in `info["action_mask"]` and
    `action_masks()`; in a third of the states there is but one.

    ## Observation Space

    The last `history` states, each the mean of 47 columns over the patients in its cluster, standardised over the states and
    clipped to -10 to 10. A Dict, with rows from the oldest to the present, right-aligned:

    | Key | Shape | Meaning |
    |---|---|---|
    | `vitals`, `blood_gas`, `chemistry`, `haematology`, `fluids` | (history, channels) | channels: `modalities.MODALITIES` |
    | `<modality>_observed` | (history, channels) | 1 in rows of the stay, where all is known, else 0 |
    | `hours` | (history,) | 1 in rows of the stay, 0 before it; a row is four hours |
    | `static` | (4,) | sex, age, weight, readmission: of the present state, so they change with it |

    With `flat=True` a Box: the rows of all 47 columns, then `hours`, then the mask of admissible actions, where
    `MaskedMlpPolicy` finds it. After the last decision nothing new is seen: the observation stays.

    ## Rewards

    1 for survival (of 90 days, in the records), 0 for everything else. Undiscounted, a policy's value is the probability of
    survival.

    ## `info` of every step

    | Key | Type | Meaning |
    |---|---|---|
    | `group_id` | int | group of the state in which the episode began |
    | `group_rewards` | float32 (G,) | the reward, at the place of its group |
    | `group_exposure` | float32 (G,) | on the last step 1 at the place of its group |
    | `elapsed` | float | hours: 4 |
    | `action_mask` | bool (25,) | admissible actions now |
    | `invalid_action` | bool | the action was inadmissible |
    | `state` | int | number of the state, 0 to 712 |
    | `sofa` | float | its mean SOFA score |
    | `is_success` | bool | on the last step: whether the patient survived |

    `reset` gives `episode`, `group_id`, `action_mask`, `state` and `sofa`. Attributes for learners: `group_names`,
    `performance_scale`.

    ## Starting State

    A state drawn as often as patients came in it. `reset(seed=s)` begins episode 0 of seed s, `reset()` the next one,
    `reset(options={"episode": k})` episode k, `reset(options={"state": n})` the next one in state n. Episode k of seed s has
    the same random numbers whatever is done, in however many environments.

    ## Episode End

    Termination when the patient survives or dies. Every policy gets there, after 9 to 12 steps on average; nothing is cut off.

    ## Version History

    v0: first version.

    :param history: number of states seen, at least 1. What is exact for policies that see one state does not hold for others
    :param flat: a flat observation
    :param group_by: `"age"` (thirds), `"sofa"`, `"readmission"` or `"ventilation"`; `grouping.GROUPINGS` has the names
    :param mdp: a :class:`~hospital_gym.clinical.sepsis.mdp.SepsisMDP`, or the folder of the files of `icu-sepsis`; None for
        those of the installed package. They are read once, and environments share them
    :param render_mode: `"rgb_array"` for a picture, `"ansi"` for text, or None
    :raises ValueError: naming the argument, its value and what is accepted
    :raises hospital_gym.clinical.data_directory.MissingDataError: if the package or a file is not there
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 1}  # type: ignore[misc]
    performance_scale = 0.05

    def __init__(
        self,
        history: int = 6,
        flat: bool = False,
        group_by: str = "age",
        mdp: SepsisMDP | str | os.PathLike[str] | None = None,
        render_mode: str | None = None,
    ) -> None:
        check_whole("history", history, 1)
        if not isinstance(flat, bool):
            raise ValueError(f"flat: got {flat!r}, expected True or False")
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode: got {render_mode!r}, expected one of {self.metadata['render_modes']} or None")
        self.mdp = mdp if isinstance(mdp, SepsisMDP) else read_mdp(mdp)
        #: (S,) group of those who start in each state
        self.start_groups = start_groups(self.mdp, group_by)
        self.group_names = GROUPINGS[group_by]
        self.history, self.flat, self.group_by, self.render_mode = int(history), flat, group_by, render_mode
        self.observing = HistoryObservation(self.mdp, self.history, flat)
        self.observation_space = self.observing.space
        self.action_space = spaces.Discrete(self.mdp.n_actions)
        self.courses = Courses(self.mdp, 1, self.history, self.start_groups, len(self.group_names))
        self._begun = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Begin the next episode.

        :param seed: begin the sequence of episodes of this seed; None goes on with the present one (a random one at first)
        :param options: `{"episode": k}` jumps to episode k of the sequence, `{"state": n}` starts in state n
        :return: observation, and `info` with `episode`, `group_id`, `action_mask`, `state` and `sofa`
        :raises ValueError: if seed or options are not what they must be
        """
        if seed is not None:
            check_whole("seed", seed, 0, most=None)
        if options is not None and not (isinstance(options, dict) and set(options) <= {"episode", "state"}):
            raise ValueError(f"options: got {options!r}, expected None or a dict with the keys 'episode' and 'state'")
        start, episode = (options or {}).get("state"), (options or {}).get("episode")
        if start is not None:
            check_whole("options['state']", start, 0, self.mdp.n_transient - 1)
        if episode is not None:
            check_whole("options['episode']", episode, 0)
        super().reset(seed=seed)
        if seed is not None or not self._begun:
            self.courses.seed([int(self.np_random.integers(2**31)) if seed is None else int(seed)])
        self._begun = True
        self.courses.begin(_THE_ONE, start, episode)
        return self._observation(), {"episode": int(self.courses.episodes[0]), **_one(self.courses.columns())}

    def _observation(self) -> Any:
        return first_row(self.observing.observe(self.courses.histories))

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Treat the patient for four hours.

        :param action: 5 x the level of fluids + the level of vasopressors
        :return: observation, reward, terminated, truncated (always False), info
        :raises ValueError: if the number is no action
        :raises RuntimeError: if the episode is over
        """
        try:
            number = operator.index(action)
        except TypeError:
            number = -1
        if not 0 <= number < self.mdp.n_actions:
            raise ValueError(f"action: got {action!r}, expected a whole number from 0 to {self.mdp.n_actions - 1}")
        if not self.courses.running[0]:
            raise RuntimeError("step() needs a running episode: call reset() first")
        actions = np.array([number])
        admissible = self.mdp.admissible[self.courses.states, actions]
        rewards = self.courses.treat(actions)
        info, ended = _one(self.courses.step_columns(admissible, rewards)), not self.courses.running[0]
        if ended:
            info["is_success"] = bool(rewards[0] > 0.0)
        return self._observation(), float(rewards[0]), ended, False, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Admissible actions now, shape (25,)."""
        return self.mdp.admissible[self.courses.states[0]].copy()

    def state_observations(self) -> Observation:
        """What is seen in each state in which somebody is treated, (713, ...), which is all that a policy knows there.

        :raises ValueError: if policies see more than the present state
        """
        if self.history > 1:
            raise ValueError(
                f"history: got {self.history}, expected 1: a policy that sees several states does not act in a state in one "
                "way, so it has no table, and its value is not that of one"
            )
        return self.observing.observe(np.arange(self.mdp.n_transient)[:, None])

    def snapshot(self) -> Snapshot:
        """Everything as it is now, for planning; see :meth:`restore`.

        :raises RuntimeError: if no episode was begun
        """
        if not self._begun:
            raise RuntimeError("snapshot() needs an episode: call reset() first")
        return self.courses.snapshot()

    def restore(self, snapshot: Snapshot) -> Observation:
        """Go back to a snapshot, possibly of another environment of the same files and history; what follows is identical.

        :param snapshot: what :meth:`snapshot` returned
        :return: the observation at that moment
        :raises ValueError: if it does not fit
        """
        self.courses.restore(snapshot)
        self._begun = True
        observation: Observation = self._observation()
        return observation

    def redraw_future(self, seed: int) -> None:
        """Let the episode go on differently from now on: the same actions may lead elsewhere. What has happened stays.

        Whoever plans needs this: otherwise it would look at what chance has in store, which nobody knows.

        :param seed: seed of the other future, >= 0
        :raises ValueError: if it is no whole number >= 0
        """
        check_whole("seed", seed, 0, most=None)
        self.courses.redraw_future(int(seed))

    def render(self) -> npt.NDArray[np.uint8] | str | None:
        """The course so far: a picture or text, as `render_mode` says.

        :raises RuntimeError: if no episode was begun
        """
        if self.render_mode is None:
            return None
        if not self._begun:
            raise RuntimeError("render() needs an episode: call reset() first")
        return (print_course if self.render_mode == "ansi" else draw_course)(self.courses, 0, self.group_names)


def _one(columns: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """The columns of one patient: numbers as Python numbers, arrays as arrays."""
    return {key: values[0] if values.ndim > 1 else values[0].item() for key, values in columns.items()}
