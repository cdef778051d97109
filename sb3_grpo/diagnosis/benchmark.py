"""The comparison on three public tables, fixed before it was run: docs/results/diagnosis-protocol.md has it in words."""

from dataclasses import dataclass
from typing import Final

from sb3_grpo.diagnosis.folds import POOLED, SOURCES
from sb3_grpo.diagnosis.methods import METHODS, Training


@dataclass(frozen=True)
class Benchmark:
    """
    :param table: name of the table (:data:`hospital_gym.clinical.tables.READERS`)
    :param training: how much policies are trained, the same for all
    :param group_by: attributes whose combinations are the groups that methods know
    :param attributes: attributes by which disparities are measured, each by itself
    :param seeds: of the trainings, by the way cases are held out
    :param methods: names of the methods
    """

    table: str
    training: Training
    group_by: tuple[str, ...] = ("sex", "age_band")
    attributes: tuple[str, ...] = ("sex", "age_band")
    seeds: tuple[tuple[str, tuple[int, ...]], ...] = ((POOLED, (0, 1, 2, 3, 4)), (SOURCES, (0, 1)))
    methods: tuple[str, ...] = tuple(METHODS)


BENCHMARKS: Final[dict[str, Benchmark]] = {
    "heart-disease": Benchmark("heart-disease", Training()),
    "eicu-mortality": Benchmark("eicu-mortality", Training(sampling="label")),
    "icu-mortality": Benchmark("icu-mortality", Training(sampling="label")),
}
"""By the table's name."""

REFERENCE: Final = "grpo"
"""What the others are compared with."""

SUBJECTS: Final = ("fair-grpo", "fair-grpo-published", "fair-grpo-latent", "grpo-dro", "grpo-resampling")
"""Whose change of the predictive parity gap is tested, Holm-corrected over these. The first is the primary one."""
