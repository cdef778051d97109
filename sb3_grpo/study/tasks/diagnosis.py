"""The task ``diagnosis``: methods that diagnose, compared on public tables of cases, fold by fold.

A run is one training: a table, a way to hold out cases, a fold, a method, a seed. ``grids/diagnosis.yml`` declares the
comparison of :data:`sb3_grpo.diagnosis.benchmark.BENCHMARKS`. The tables lie where the environment variable
``HOSPITAL_GYM_DATA`` says, on every machine that does runs; a run whose table is not the one for which it was declared fails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any, Final

import numpy as np

from hospital_gym.clinical.case_table import CaseTable
from hospital_gym.clinical.cases import SAMPLINGS
from hospital_gym.clinical.data_directory import ENVIRONMENT_VARIABLE, MissingDataError
from hospital_gym.clinical.tables import READERS, load_table
from sb3_grpo.common.checks import is_number, is_positive
from sb3_grpo.diagnosis.benchmark import Benchmark
from sb3_grpo.diagnosis.cross_validation import FoldTask, Probabilities, pack_answers, plan, read_answers
from sb3_grpo.diagnosis.folds import SCHEMES, make_folds
from sb3_grpo.diagnosis.methods import METHODS, Method, Training
from sb3_grpo.diagnosis.results import rounded
from sb3_grpo.fairness.classification import METRICS, Attribute, Diagnoses
from sb3_grpo.fairness.classification.counts import answer_counts, conditions
from sb3_grpo.study.checks import check_keys, mapping, sequence, whole
from sb3_grpo.study.protocol import Phase, StudyProtocol
from sb3_grpo.study.runs import Output, Run, StudyError
from sb3_grpo.study.store import Store

ANSWERS: Final = "answers.npz"
"""Name of the file with the answers to the held-out cases (:func:`sb3_grpo.diagnosis.cross_validation.read_answers`)."""

# Measured on one core on which the comparison was made
_ANSWERS_A_SECOND: Final = {"FairGRPO": 75_000.0}
_ANSWERS_A_SECOND_OF_OTHERS: Final = 17_000.0
_SECONDS_A_RUN: Final = 0.1
_SECONDS_A_CLASSIFIER: Final = 0.5


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a grid declares of one table.

    :param benchmark: the declaration
    :param folds: number of folds where sources are pooled
    :param table: the cases
    :param tasks: the trainings
    """

    benchmark: Benchmark
    folds: int
    table: CaseTable
    tasks: Sequence[FoldTask]

    def run(self, task: FoldTask) -> Run:
        """One of its trainings as a run of the study."""
        config = {
            "table": self.benchmark.table,
            "group_by": list(self.benchmark.group_by),
            "attributes": list(self.benchmark.attributes),
            "folds": self.folds,
            "scheme": task.scheme,
            "fold": task.number,
            "method": task.name,
            "settings": task.settings(self.table),
        }
        label = f"{self.benchmark.table}/{task.name}/{task.scheme} {task.fold.name}/seed {task.seed}"
        return Run(label, "diagnosis", config, _seconds(task))

    def answers(self, store: Store) -> dict[str, Probabilities | None]:
        """What its trainings found, by the tasks' file names; None for one that is not finished.

        :param store: where results are kept
        """
        found: dict[str, Probabilities | None] = {}
        for task in self.tasks:
            run = self.run(task)
            whole = store.result(run) is not None
            found[task.file_name] = read_answers(store.array(run, ANSWERS), task, self.table) if whole else None
        return found


def expand(grid: Mapping[str, Any], protocol: StudyProtocol | None, phase: Phase) -> list[Run]:
    """The runs of a grid, table by table.

    :param grid: the grid as its file says it
    :param protocol: None: nothing is chosen on the way, so the grid itself is all that has to be fixed beforehand
    :param phase: ``"test"``, the only one
    :raises StudyError: naming key, value and what is accepted; also if a table's data are not there
    """
    if protocol is not None:
        raise StudyError("protocol: got one, expected none: a comparison of diagnosis methods is fixed by its grid alone")
    if phase != "test":
        raise StudyError(f"phase: got {phase!r}, expected 'test': a comparison of diagnosis methods has no other")
    return [each.run(task) for each in comparisons(grid) for task in each.tasks]


def run(config: Mapping[str, Any], inputs: Mapping[str, bytes]) -> Output:
    """Train on a fold's training cases and answer the others.

    :param config: its configuration, as :func:`expand` makes it
    :param inputs: none
    :return: metrics and counts of the fold's held-out cases; the answers as :data:`ANSWERS`
    :raises StudyError: if the table is not the one for which the run was declared
    """
    table = _read(config["table"], config["group_by"])
    task = _task(config, table)
    if task.settings(table) != config["settings"]:
        raise StudyError(f"{config['table']}: the table here is not the one for which the study was declared")
    answers, chosen = task.run(table)
    result = {"fold": task.fold.name, "seed": task.seed, **chosen, **_measured(table, task, answers, config["attributes"])}
    return Output(result, arrays={ANSWERS: pack_answers(task, table, answers, chosen)})


def comparisons(grid: Mapping[str, Any]) -> list[Comparison]:
    """What a grid declares, with the tables.

    :param grid: the grid as its file says it
    :raises StudyError: as :func:`expand`
    """
    found = []
    folds = whole("folds", grid.get("folds", 5), 2)
    for name, declaration in declared(grid).items():
        table = _read(declaration.table, declaration.group_by)
        methods = {method: METHODS[method] for method in declaration.methods}
        try:
            table.grouped_by(*declaration.attributes)
            tasks = plan(table, methods, declaration.training, dict(declaration.seeds), folds)
        except ValueError as error:
            raise StudyError(f"tables: {name}: {error}") from None
        found.append(Comparison(declaration, folds, table, tasks))
    return found


def declared(grid: Mapping[str, Any]) -> dict[str, Benchmark]:
    """What a grid declares, by table.

    :param grid: the grid as its file says it
    :raises StudyError: naming key, value and what is accepted
    """
    check_keys("grid", grid, ("tables", "group_by", "attributes", "folds", "seeds", "training", "methods"), ("tables",))
    common: dict[str, Any] = {}
    for key, known in (("group_by", None), ("attributes", None), ("methods", METHODS)):
        if key in grid:
            common[key] = _names(key, grid[key], known)
    if "seeds" in grid:
        common["seeds"] = _seeds(grid["seeds"])
    training = _training("training", grid.get("training", {}), Training())
    found = {}
    for entry in sequence("tables", grid["tables"]):
        entry = {"name": entry} if isinstance(entry, str) else mapping("tables", entry)
        check_keys("tables", entry, ("name", "training"), ("name",))
        name = entry["name"]
        if not isinstance(name, str) or name not in READERS or name in found:
            raise StudyError(f"tables: got {name!r}, expected each once among {', '.join(READERS)}")
        own = _training(f"tables: {name}: training", entry.get("training", {}), training)
        found[name] = Benchmark(name, own, **common)
    if not found:
        raise StudyError("tables: got [], expected at least one table")
    return found


def _names(key: str, value: Any, known: Mapping[str, Any] | None) -> tuple[str, ...]:
    names = sequence(key, value)
    for name in names:
        if not isinstance(name, str) or (known is not None and name not in known):
            accepted = "names" if known is None else f"some of {', '.join(known)}"
            raise StudyError(f"{key}: got {name!r}, expected {accepted}")
    if len(set(names)) != len(names) or (known is not None and not names):
        raise StudyError(f"{key}: got {names!r}, expected different names" + ("" if known is None else ", at least one"))
    return tuple(names)


def _seeds(value: Any) -> tuple[tuple[str, tuple[int, ...]], ...]:
    by_scheme = mapping("seeds", value)
    check_keys("seeds", by_scheme, tuple(SCHEMES))
    for scheme, seeds in by_scheme.items():
        for seed in sequence(f"seeds: {scheme}", seeds):
            whole(f"seeds: {scheme}", seed, 0)
        if not seeds or len(set(seeds)) != len(seeds):
            raise StudyError(f"seeds: {scheme}: got {seeds!r}, expected different seeds, at least one")
    if not by_scheme:
        raise StudyError(f"seeds: got {{}}, expected seeds for {' or '.join(SCHEMES)}")
    # The primary way first, in whatever order a file says them
    return tuple((scheme, tuple(by_scheme[scheme])) for scheme in SCHEMES if scheme in by_scheme)


def _training(where: str, value: Any, base: Training) -> Training:
    changes = mapping(where, value)
    check_keys(where, changes, [entry.name for entry in fields(Training)])
    for key, given in changes.items():
        if key == "sampling":
            if given not in SAMPLINGS:
                raise StudyError(f"{where}: sampling: got {given!r}, expected one of {', '.join(SAMPLINGS)}")
        elif key == "net_arch":
            changes[key] = tuple(whole(f"{where}: net_arch", width, 1) for width in sequence(f"{where}: net_arch", given))
        elif key == "learning_rate":
            if not is_positive(given):
                raise StudyError(f"{where}: learning_rate: got {given!r}, expected a number > 0, such as 0.0003")
        elif key == "wrong_reward":
            if not (is_number(given) and 0 < given < 1):
                raise StudyError(f"{where}: wrong_reward: got {given!r}, expected a number in (0, 1)")
        else:
            whole(f"{where}: {key}", given, 1)
    return replace(base, **changes)


def _read(name: str, group_by: Sequence[str]) -> CaseTable:
    try:
        return load_table(name).grouped_by(*group_by)
    except MissingDataError as error:
        raise StudyError(f"tables: {name}: {_in_words(error)}") from None
    except ValueError as error:
        raise StudyError(f"tables: {name}: {error}") from None


def _in_words(error: MissingDataError) -> str:
    """A study has no argument for the data directory: its place belongs to the machine, not to the study."""
    text = str(error).replace(", or pass `data=`", "")
    return text.replace("in the data directory", f"where {ENVIRONMENT_VARIABLE} says: set it to the folder that holds it, not")


def _task(config: Mapping[str, Any], table: CaseTable) -> FoldTask:
    """The training that a configuration describes."""
    settings = config["settings"]
    training = Training(**{**settings["training"], "net_arch": tuple(settings["training"]["net_arch"])})
    folds = make_folds(table, config["scheme"], config["folds"])
    number, method = config["fold"], Method(**settings["method"])
    return FoldTask(config["scheme"], number, folds[number], config["method"], method, training, (), settings["seed"])


def _measured(table: CaseTable, task: FoldTask, answers: Probabilities, attributes: Sequence[str]) -> dict[str, Any]:
    """Metrics of the held-out cases, None where they do not exist (a group with too few), and their counts by group."""
    rows = task.fold.test
    grouped = {name: table.grouped_by(name) for name in attributes}
    ways = {name: Attribute(each.group_id[rows], each.group_names) for name, each in grouped.items()}
    of = Diagnoses(table.label[rows], answers[None], ways, table.patient_id[rows])
    with np.errstate(invalid="ignore"):
        values = of.statistic(tuple(METRICS))(np.ones((1, of.units[0])))[:, 0]
    everybody = Attribute(np.zeros(len(rows), dtype=np.int64), ("all",))
    counts = {name: _counts(table, of, way) for name, way in chain([("all", everybody)], ways.items())}
    return {"cases": len(rows), "metrics": rounded(dict(zip(METRICS, values.tolist(), strict=True))), "counts": counts}


def _counts(table: CaseTable, of: Diagnoses, way: Attribute) -> dict[str, Any]:
    """By group and condition: true and false positives and negatives."""
    each = answer_counts(of.label, of.probability.argmax(axis=2), way.ids, len(way.names), of.n_classes)
    sums = {part: values.sum(axis=0).astype(int).tolist() for part, values in each._asdict().items()}
    names = [table.label_names[k] for k in conditions(of.n_classes)]
    return {
        group: {name: {part: values[g][k] for part, values in sums.items()} for k, name in enumerate(names)}
        for g, group in enumerate(way.names)
    }


def _seconds(task: FoldTask) -> float:
    if not task.is_policy:
        return _SECONDS_A_CLASSIFIER
    rate = _ANSWERS_A_SECOND.get(task.method.algorithm, _ANSWERS_A_SECOND_OF_OTHERS)
    return _SECONDS_A_RUN + task.updates * task.training.decisions / rate
