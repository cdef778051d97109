"""The numbers of a planner."""

from dataclasses import dataclass
from typing import Literal

from sb3_grpo.common.checks import check_whole, is_number, is_positive


@dataclass(frozen=True, kw_only=True)
class Settings:
    """See :class:`sb3_grpo.planning.Planner` for the meaning of each.

    :raises ValueError: naming the number, its value and what is accepted
    """

    simulations: int | None
    steps: int | None
    seconds: float | None
    horizon: int
    futures: int | Literal["actual"]
    genetic_share: float
    population: int
    elites: int
    tournament: int
    crossover_rate: float
    mutation_rate: float | None
    patience: int | None
    candidates: int
    candidate_weight: float
    exploration: float
    widening: float
    draws: int
    caution: float

    def __post_init__(self) -> None:
        if self.simulations is None and self.steps is None and self.seconds is None:
            raise ValueError("simulations, steps, seconds: got None for all, expected a number for at least one of them")
        if self.seconds is not None and not is_positive(self.seconds):
            raise ValueError(f"seconds: got {self.seconds!r}, expected a positive number or None")
        if self.futures != "actual":
            check_whole("futures", self.futures, 1)
        ones = dict.fromkeys(("simulations", "steps", "horizon", "tournament", "patience", "candidates", "draws"), 1)
        for key, number in {**ones, "population": 2, "elites": 0}.items():
            if getattr(self, key) is not None:
                check_whole(key, getattr(self, key), number)
        if self.elites >= self.population:
            raise ValueError(f"elites: got {self.elites}, expected fewer than the population of {self.population}")
        for key in ("genetic_share", "crossover_rate", "mutation_rate", "candidate_weight", "widening"):
            value = getattr(self, key)
            if value is not None and not (is_number(value) and 0.0 <= value <= 1.0):
                raise ValueError(f"{key}: got {value!r}, expected a number from 0 to 1")
        for key in ("exploration", "caution"):
            if not (is_number(getattr(self, key)) and getattr(self, key) >= 0.0):
                raise ValueError(f"{key}: got {getattr(self, key)!r}, expected a number >= 0")

    @property
    def is_clairvoyant(self) -> bool:
        """Whether the future that will really happen is looked at."""
        return self.futures == "actual"
