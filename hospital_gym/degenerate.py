"""Policies that would win if a rule of the simulator were missing.

Each takes one liberty whenever it may and otherwise follows triage with the best thresholds known. A hospital in which one of
them beat that triage would be one in which learning finds a loophole instead of a policy. (Against triage with its plain
thresholds spending more is sometimes a gain: those thresholds are not the best.)
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.heuristics import Escalation, HeuristicPolicy, Index, Situation, triage
from hospital_gym.scenarios import Scenario
from hospital_gym.simulator.layout import ALTERNATIVE, CRITICAL, ELDERLY, N_CLASSES, OVERTIME, SURGE_BLOCK, TRANSFER, WAIT

_AGE, _SEVERITY = np.divmod(np.arange(N_CLASSES), 3)
_LIBERTIES: Final = {
    "always-wait": np.array([WAIT]),
    "always-transfer": np.arange(TRANSFER, OVERTIME),
    "always-surge-beds": np.arange(SURGE_BLOCK, WAIT),
    "always-overtime": np.array([OVERTIME]),
    "critical-in-wards": ALTERNATIVE + np.flatnonzero(_SEVERITY == CRITICAL),
}


class LibertyPolicy(HeuristicPolicy):
    """Triage that takes any of the given actions as soon as it is valid.

    :param scenario: the hospital
    :param liberties: action numbers
    """

    def __init__(self, scenario: Scenario, liberties: npt.NDArray[np.integer]) -> None:
        super().__init__(scenario, triage(scenario), Escalation.best(scenario))
        self.liberties = liberties

    def _act(self, batch: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        valid = batch[:, self.layout.slices["action_mask"]][:, self.liberties] > 0.5
        return np.where(valid.any(axis=1), self.liberties[valid.argmax(axis=1)], super()._act(batch))


class WithoutElderly(HeuristicPolicy):
    """Triage that never gives elderly patients a bed nor a transfer, whatever their severity.

    :param scenario: the hospital
    """

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario, _elderly_last(scenario), Escalation.best(scenario))

    def _act(self, batch: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        actions = super()._act(batch)
        refused = (actions < OVERTIME) & (_AGE[actions % N_CLASSES] == ELDERLY)
        # Refusing is waiting; where a bed would be held free too long the environment lets triage choose.
        return np.where(refused, WAIT, actions)


def _elderly_last(scenario: Scenario) -> Index:
    order = triage(scenario)

    def index(situation: Situation) -> npt.NDArray[np.float64]:
        return order(situation) - np.where(_AGE == ELDERLY, 1e9, 0.0)

    return index


def _liberty(name: str) -> Callable[[Any], HeuristicPolicy]:
    return lambda env: LibertyPolicy(env.unwrapped.scenario, _LIBERTIES[name])


DEGENERATE_POLICIES: Final[dict[str, Callable[[Any], HeuristicPolicy]]] = {
    **{name: _liberty(name) for name in _LIBERTIES},
    "never-elderly": lambda env: WithoutElderly(env.unwrapped.scenario),
}
"""Policies by name: from an environment to the policy for it."""
