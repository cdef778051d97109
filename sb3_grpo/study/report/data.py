"""The results of studies, read from their folders."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from sb3_grpo.fairness.metrics import EpisodeTotals, FloatArray
from sb3_grpo.study.protocol import StudyProtocol, read_protocol
from sb3_grpo.study.runs import StudyError
from sb3_grpo.study.store import RESULTS, Store
from sb3_grpo.study.tasks.hospital.measure import unpacked
from sb3_grpo.study.tasks.hospital.play import ARRAYS, RULE

BASELINE: Final = "lam=0"


@dataclass(frozen=True, eq=False)
class Played:
    """What one policy did in the test episodes of one hospital.

    :param scenario: the hospital
    :param row: name of the row of the grid: ``lam=0.3``, ``group critic, lam=0``, or a rule's name
    :param seed: number of the training; None for a rule
    :param elsewhere: how the hospital was changed; empty if it was not
    :param mode: how a model acted, :data:`RULE` for a rule
    :param numbers: see :func:`sb3_grpo.study.tasks.hospital.measure.measured`
    :param file: the arrays
    """

    scenario: str
    row: str
    seed: int | None
    elsewhere: str
    mode: str
    numbers: Mapping[str, Any]
    file: Path

    @property
    def totals(self) -> EpisodeTotals | None:
        """Sums by episode and group, from which rates and their intervals are made; None where the file is not kept."""
        if not self.file.is_file():
            return None
        demand, benefit, n = (unpacked(self.file, self.mode, name) for name in ("demand", "benefit", "n"))
        return EpisodeTotals(demand, benefit, n.astype(np.int64))

    @property
    def costs(self) -> FloatArray:
        """Cost of each episode, (E,); needs the file of :attr:`totals`."""
        return unpacked(self.file, self.mode, "cost")


@dataclass(frozen=True, eq=False)
class Trained:
    """One training.

    :param scenario: as in :class:`Played`, as for the next two
    :param row: see there
    :param seed: see there
    :param result: see :func:`sb3_grpo.study.tasks.hospital.train.train`
    """

    scenario: str
    row: str
    seed: int
    result: Mapping[str, Any]


@dataclass
class Results:
    """All results of one or several studies with the same protocol.

    :param folders: where they are
    :param protocol: what was fixed beforehand
    :param scenarios: hospitals, in order
    :param trained: every training
    :param played: every test of a policy
    :param rules_validation: numbers of each rule on the validation episodes, by hospital and rule
    :param missing: labels of runs without a result
    :param versions: the versions with which results were made, each once
    """

    folders: Sequence[Path]
    protocol: StudyProtocol
    scenarios: list[str] = field(default_factory=list)
    trained: list[Trained] = field(default_factory=list)
    played: list[Played] = field(default_factory=list)
    rules_validation: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    versions: list[Mapping[str, str]] = field(default_factory=list)
    _seen: set[tuple[Any, ...]] = field(default_factory=set)

    def is_new(self, *names: Any) -> bool:
        """Whether this is asked for the first time with these names: two studies may share runs."""
        known = names in self._seen
        self._seen.add(names)
        return not known

    @property
    def group_names(self) -> list[str]:
        """Names of the groups."""
        for result in self.played:
            return list(result.numbers["rates"])
        return list(self.trained[0].result["validation"][self.protocol.mode]["rates"]) if self.trained else []

    def tests(self, scenario: str, row: str, mode: str | None = None, elsewhere: str = "") -> list[Played]:
        """Tests of a row in order of the trainings; by default in the protocol's mode."""
        wanted = (scenario, row, elsewhere)
        mode = self.protocol.mode if mode is None else mode
        found = [p for p in self.played if (p.scenario, p.row, p.elsewhere) == wanted and p.mode in (mode, RULE)]
        return sorted(found, key=lambda played: -1 if played.seed is None else played.seed)

    def trainings(self, scenario: str, row: str) -> list[Trained]:
        """Trainings of a row, in order."""
        found = [trained for trained in self.trained if (trained.scenario, trained.row) == (scenario, row)]
        return sorted(found, key=lambda trained: trained.seed)

    def model_rows(self, scenario: str) -> list[str]:
        """Rows of models in a hospital, lam=0 first."""
        rows = dict.fromkeys(trained.row for trained in self.trained if trained.scenario == scenario)
        return sorted(rows, key=_row_order)

    def rules(self, scenario: str) -> list[str]:
        """Rules in a hospital."""
        return list(dict.fromkeys(p.row for p in self.played if p.scenario == scenario and p.mode == RULE))

    def chosen_row(self, scenario: str) -> str | None:
        """Row of the chosen lam, None if it is not chosen."""
        lam = self.protocol.lam.get(scenario)
        return None if lam is None else f"lam={lam:g}"


def _row_order(row: str) -> tuple[str, float]:
    name, _, lam = row.rpartition("lam=")
    return name, 2.0 if lam == "auto" else float(lam)


def values(played: Iterable[Played], key: str) -> FloatArray:
    """One number of each test; those that do not exist are left out.

    :param played: the tests
    :param key: name in their numbers, with a slash for a number inside another mapping
    """
    found = []
    for each in played:
        value: Any = each.numbers
        for part in key.split("/"):
            value = value[part]
        found.append(np.nan if value is None else float(value))
    array = np.array(found, dtype=np.float64)
    return array[np.isfinite(array)]


def read_results(folders: Sequence[Path]) -> Results:
    """The results in the folders of one or several studies.

    :param folders: the folders
    :raises StudyError: if one is no study's, studies are of another task, or protocols differ
    """
    results: Results | None = None
    for folder in folders:
        description = Store(folder).description()
        if not description:
            raise StudyError(f"got {str(folder)!r}, expected the folder of a study (with study.json in it)")
        if description["task"] != "hospital":
            raise StudyError(f"{folder}: task: got {description['task']!r}, expected 'hospital'")
        protocol = read_protocol(description["protocol"], f"{folder}: protocol")
        if results is None:
            results = Results(list(folders), protocol)
        elif protocol != results.protocol:
            raise StudyError(f"{folder}: its protocol differs from that of {folders[0]}, expected the same")
        _read_folder(folder, description["runs"], results)
    if results is None:
        raise StudyError("got no folder, expected at least one")
    if not (results.trained or results.played):
        raise StudyError(f"{folders[0]}: no run is finished: nothing to report yet")
    return results


def _read_folder(folder: Path, runs: Mapping[str, str], results: Results) -> None:
    for key, label in runs.items():
        path = folder / RESULTS / f"{key}.json"
        if not path.is_file():
            results.missing.append(label)
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        config, result = content["config"], content["result"]
        if content["versions"] not in results.versions:
            results.versions.append(content["versions"])
        scenario = label.split("/")[0]
        if scenario not in results.scenarios:
            results.scenarios.append(scenario)
        if config["kind"] == "train":
            if results.is_new(scenario, config["row"], config["seed"], "training"):
                results.trained.append(Trained(scenario, config["row"], config["seed"], result))
        elif "validation" in result:
            results.rules_validation[scenario, config["row"]] = result["validation"]
        else:
            arrays = path.with_name(f"{key}.{ARRAYS}")
            by_mode = {RULE: result["test"]} if config["kind"] == "rule" else result["test"]
            for mode, numbers in by_mode.items():
                elsewhere, seed = config.get("elsewhere", ""), config.get("seed")
                if results.is_new(scenario, config["row"], seed, elsewhere, mode):
                    results.played.append(Played(scenario, config["row"], seed, elsewhere, mode, numbers, arrays))
