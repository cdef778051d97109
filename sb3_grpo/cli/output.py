"""Patient records as CSV, and what a result of a command must say about where it came from."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from hospital_gym.records import AGE_BANDS, BED_TYPES, OUTCOMES, RECORD_DTYPE, SEVERITIES
from sb3_grpo.cli.options import Hospital
from sb3_grpo.common.evaluation import EpisodeSet
from sb3_grpo.common.files import file_hash, replacing

_LABELS: Final[dict[str, tuple[str, ...]]] = {
    "age_band": AGE_BANDS,
    "sex": ("female", "male"),
    "severity_arrival": SEVERITIES,
    "severity_decision": SEVERITIES,
    "bed": (*BED_TYPES, "none"),  # the code of "none" is -1, the last one
    "outcome": OUTCOMES,
}
_DECIMALS: Final = {"arrival": 3, "age": 1, "target_wait": 2, "wait": 3, "service_time": 3, "demand": 3, "benefit": 5}


def write_records(path: Path, policies: Mapping[str, EpisodeSet]) -> None:
    """Write one row per patient and policy as CSV; hours and need weights as in :data:`hospital_gym.records.RECORD_DTYPE`."""
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for number, (name, episodes) in enumerate(policies.items()):
            columns = {"policy": [name] * len(episodes.records), **_record_columns(episodes)}
            if number == 0:
                writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))


def _record_columns(episodes: EpisodeSet) -> dict[str, Iterable[Any]]:
    columns: dict[str, Iterable[Any]] = {}
    for field in RECORD_DTYPE.names or ():
        values = episodes.records[field]
        if field == "group":
            values = np.array(episodes.group_names)[values]
        elif field in _LABELS:
            values = np.array(_LABELS[field])[values]
        elif field in _DECIMALS:
            values = np.round(values.astype(np.float64), _DECIMALS[field])
        columns[field] = values.tolist()
    return columns


def command_line() -> list[str]:
    """The words of the command that runs now."""
    return ["sb3-grpo", *sys.argv[1:]]


def hospital_description(hospital: Hospital) -> dict[str, Any]:
    """The hospital's every number, and which file its arrivals came from; JSON has no infinity, so it is a string."""
    numbers = json.loads(json.dumps(asdict(hospital.scenario)), parse_constant=str)
    arrivals = None if hospital.arrivals is None else {"file": hospital.arrivals, "sha256": file_hash(hospital.arrivals)}
    return {"environment": hospital.env_id, "scenario": numbers, "arrivals": arrivals}
