"""Hospitals of a study: one of the four, a YAML file, or one of these with some numbers changed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hospital_gym.scenarios import SCENARIOS, Scenario, load_scenario


@dataclass(frozen=True)
class Place:
    """A hospital.

    :param name: what tables call it
    :param base: name of one of the four, or a YAML file
    :param changes: numbers that replace those of the base, by field
    """

    name: str
    base: str
    changes: Mapping[str, Any]

    @property
    def scenario(self) -> Scenario:
        """Its numbers.

        :raises ValueError: if a number is none of a hospital
        """
        scenario = load_scenario(self.base)
        if not self.changes:
            return scenario
        values = {key: _tuples(value) for key, value in self.changes.items()}
        try:
            return replace(scenario, **{"name": self.name, **values})
        except TypeError as error:
            raise ValueError(f"{self.name}: {error}") from None

    @property
    def env_id(self) -> str:
        """Id of its environment."""
        return f"Hospital-{self.base}-v0" if self.base in SCENARIOS and not self.changes else "Hospital-v0"

    @property
    def settings_id(self) -> str:
        """Id of the environment whose hyperparameters it is trained with: a hospital with a name of its own is one's own, for
        which no rule is tuned."""
        return f"Hospital-{self.base}-v0" if self.base in SCENARIOS and self.scenario.name == self.base else "Hospital-v0"

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of its environment."""
        return {} if self.env_id != "Hospital-v0" else {"scenario": self.scenario}

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, with the hash of all its numbers: a result does not outlive them."""
        numbers = json.dumps(asdict(self.scenario), sort_keys=True)
        sha256 = hashlib.sha256(numbers.encode()).hexdigest()
        return {"name": self.name, "base": self.base, "changes": dict(self.changes), "sha256": sha256}


def place_of(told: Mapping[str, Any]) -> Place:
    """The hospital of a run's configuration."""
    return Place(told["name"], told["base"], told["changes"])


def multiplied(place: Place, name: str, factors: Mapping[str, float]) -> Place:
    """A hospital with some numbers multiplied.

    :param place: the hospital
    :param name: what to call the result
    :param factors: by field; a table is multiplied throughout
    :raises ValueError: if the hospital has no such number
    """
    scenario, changes = place.scenario, dict(place.changes)
    for key, factor in factors.items():
        value = getattr(scenario, key, None)
        if value is None or isinstance(value, str | bool):
            raise ValueError(f"multiply: got {key!r}, expected a number or table of numbers of a hospital")
        changes[key] = np.multiply(value, factor).tolist()
    return Place(name, place.base, {**changes, "name": scenario.name})


def _tuples(value: Any) -> Any:
    """Lists, as YAML and JSON have them, as the tuples that a scenario has."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
