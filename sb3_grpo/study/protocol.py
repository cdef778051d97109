"""What a study fixes before it looks at test episodes, so that nothing is chosen by the numbers that it reports.

The file names, for each scenario, the one lam that is compared with lam=0, chosen on validation episodes; the measure, the
unit, the number of trainings and the test. Until a scenario has its lam, no policy plays test episodes; and once one has, the
file may not change. Commit it before the first test run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from sb3_grpo.common.checks import check_whole, is_number
from sb3_grpo.study.runs import StudyError

Phase = Literal["validation", "test"]
"""How far a study goes: ``validation`` trains and chooses, ``test`` also plays the test episodes."""

DRAWN: Final = "drawn"
MOST_LIKELY: Final = "most likely"
MODES: Final = (DRAWN, MOST_LIKELY)
"""How a model acts: its actions drawn from its distribution, as trained, or the most likely one."""


@dataclass(frozen=True)
class StudyProtocol:
    """
    :param lam: per scenario the lam that is compared with 0; None where it is not chosen yet
    :param candidates: the values of lam among which it is chosen
    :param least_efficiency: share of lam=0's efficiency, on validation episodes, below which a candidate is not chosen
    :param mode: how models act in the primary comparison
    :param seeds: number of trainings of lam=0 and of the chosen lam in each scenario
    :param validation_episodes: number of validation episodes on which lam is chosen
    :param test_episodes: number of test episodes, the same for every policy
    :param alpha: probability of any false rejection over all scenarios, after Holm's correction
    :param non_inferiority: share of lam=0's efficiency that the lower 95 % limit has to exceed
    :param target: relative reduction of the gap that was claimed elsewhere, to hold the result against
    """

    lam: Mapping[str, float | None]
    candidates: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5)
    least_efficiency: float = 0.985
    mode: str = DRAWN
    seeds: int = 10
    validation_episodes: int = 200
    test_episodes: int = 500
    alpha: float = 0.05
    non_inferiority: float = 0.982
    target: float = 0.253

    @property
    def is_chosen(self) -> bool:
        """Whether every scenario has its lam."""
        return all(value is not None for value in self.lam.values())

    def to_dict(self) -> dict[str, Any]:
        """Everything that it fixes, as JSON can hold it."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {**values, "lam": dict(self.lam), "candidates": list(self.candidates)}

    def require_choice(self, scenarios: list[str], where: str) -> None:
        """Refuse the test phase before every scenario has its lam.

        :param scenarios: names of the study's scenarios
        :param where: what to call the protocol
        :raises StudyError: naming the scenarios without lam
        """
        open_ones = [name for name in scenarios if self.lam.get(name) is None]
        if open_ones:
            raise StudyError(
                f"{where}: lam: got no value for {', '.join(open_ones)}, expected one for each scenario before test "
                "episodes are played: run --phase validation, choose on its report, write that into the protocol and commit it"
            )


def read_protocol(source: Any, where: str) -> StudyProtocol:
    """A protocol from a mapping, or the path of a YAML file that holds one.

    :param source: mapping or path
    :param where: what messages call it
    :raises StudyError: if it cannot be used, naming key, value and what is accepted
    """
    if isinstance(source, str | Path):
        where = str(source)
        try:
            source = yaml.safe_load(Path(source).read_text(encoding="utf-8"))
        except OSError as error:
            raise StudyError(f"protocol: got {where!r}, expected a file that exists: {error.strerror}") from None
        except yaml.YAMLError as error:
            raise StudyError(f"protocol: {where} is not YAML: {' '.join(str(error).split())}") from None
    known = [entry.name for entry in fields(StudyProtocol)]
    if not isinstance(source, Mapping) or "lam" not in source:
        raise StudyError(f"{where}: got {source!r}, expected a mapping with at least the key lam")
    for key in source:
        if key not in known:
            raise StudyError(f"{where}: unknown key {key!r}; known keys are {', '.join(known)}")
    values = dict(source)
    lam = values["lam"]
    if not isinstance(lam, Mapping) or not all(value is None or _is_share(value, 0) for value in lam.values()):
        raise StudyError(f"{where}: lam: got {lam!r}, expected a number in (0, 1] or null for each scenario")
    candidates = values.get("candidates", StudyProtocol.candidates)
    if not isinstance(candidates, list | tuple) or not candidates or not all(_is_share(value, 0) for value in candidates):
        raise StudyError(f"{where}: candidates: got {candidates!r}, expected a list of numbers in (0, 1]")
    values["candidates"] = tuple(float(value) for value in candidates)
    values["lam"] = {str(name): None if value is None else float(value) for name, value in lam.items()}
    if values.get("mode", DRAWN) not in MODES:
        raise StudyError(f"{where}: mode: got {values['mode']!r}, expected one of {', '.join(MODES)}")
    for key in ("least_efficiency", "alpha", "non_inferiority", "target"):
        if key in values and not _is_share(values[key], 0):
            raise StudyError(f"{where}: {key}: got {values[key]!r}, expected a number in (0, 1]")
    for key, least in (("seeds", 2), ("validation_episodes", 1), ("test_episodes", 2)):
        try:
            check_whole(key, values.get(key, least), least)
        except ValueError as error:
            raise StudyError(f"{where}: {error}") from None
    return StudyProtocol(**values)


def _is_share(value: Any, above: float) -> bool:
    return is_number(value) and above < value <= 1
