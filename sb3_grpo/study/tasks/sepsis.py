"""The task ``sepsis``: trainings of GroupRelativePPO on the treatment of sepsis, each valued exactly.

A run is one training: a row of the grid and a seed. Values are exact, so nothing is evaluated on episodes, and there is no
protocol and one phase. ``grids/sepsis.yml`` declares what ``docs/results/sepsis.md`` reports. The decision problem is that of
the installed package ``icu-sepsis``; a run that was declared for another one fails.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from hospital_gym.clinical.data_directory import MissingDataError
from hospital_gym.clinical.registration import SEPSIS_ENVIRONMENT
from hospital_gym.clinical.sepsis.exact import Worth
from hospital_gym.clinical.sepsis.grouping import GROUPINGS
from hospital_gym.clinical.sepsis.mdp import SepsisMDP, read_mdp
from sb3_grpo.common.hyperparameters import TrainingSettings, load_settings, parse_settings
from sb3_grpo.group_relative_ppo import GroupRelativePPO
from sb3_grpo.sepsis.policies import Table
from sb3_grpo.sepsis.training import train
from sb3_grpo.study.checks import check_keys, mapping, sequence, whole
from sb3_grpo.study.protocol import Phase, StudyProtocol
from sb3_grpo.study.runs import Output, Run, StudyError
from sb3_grpo.study.store import Store

TABLE: Final = "policy.npy"
"""Name of the file with a training's policy: probability of each action in each state, (716, 25)."""
MODEL: Final = "model.zip"
"""Name of the file with its model."""

# Measured on one core on which the grid was written
_STEPS_A_SECOND: Final = 12_000.0
_SEEDS_APART: Final = 2048
_SEED_BLOCKS: Final = 2**20


def expand(grid: Mapping[str, Any], protocol: StudyProtocol | None, phase: Phase) -> list[Run]:
    """The runs of a grid, row by row.

    :param grid: the grid as its file says it
    :param protocol: None: values are exact, so nothing can be looked at too early
    :param phase: ``"test"``, the only one
    :raises StudyError: naming key, value and what is accepted; also if the decision problem is not there
    """
    if protocol is not None:
        raise StudyError("protocol: got one, expected none: values are exact, and there are no test episodes to protect")
    if phase != "test":
        raise StudyError(f"phase: got {phase!r}, expected 'test': exact values need no other")
    return [run for runs in declared(grid).values() for run in runs]


def declared(grid: Mapping[str, Any]) -> dict[str, list[Run]]:
    """The runs of a grid, by row.

    :param grid: the grid as its file says it
    :raises StudyError: as :func:`expand`
    """
    check_keys("grid", grid, ("group_by", "seeds", "training", "models"), ("models",))
    group_by = grid.get("group_by", "age")
    if not isinstance(group_by, str) or group_by not in GROUPINGS:
        raise StudyError(f"group_by: got {group_by!r}, expected one of {', '.join(GROUPINGS)}")
    seeds = whole("seeds", grid.get("seeds", 5), 1)
    training = _entry(grid.get("training", {}))
    problem = _digest(_read())
    rows: dict[str, list[Run]] = {}
    for row in sequence("models", grid["models"]):
        row = mapping("models", row)
        check_keys("models", row, ("name", "set"), ("name",))
        name = row["name"]
        if not isinstance(name, str) or not name or "/" in name or name in rows:
            raise StudyError(f"models: got the name {name!r}, expected different names without a slash")
        changes = mapping(f"models: {name}: set", row.get("set", {}))
        settings = _settings({**training, **changes}, f"models: {name}")
        config = {"group_by": group_by, "problem": problem, "training": _plain(settings)}
        label = f"sepsis/{name}"
        seconds = settings.n_timesteps / _STEPS_A_SECOND
        rows[name] = [
            Run(f"{label}/seed {k}", "sepsis", {**config, "seed": training_seed(name, k)}, seconds) for k in range(seeds)
        ]
    if not rows:
        raise StudyError("models: got [], expected at least one row, such as {name: full}")
    return rows


def training_seed(name: str, number: int) -> int:
    """
    Environment i of a training has its seed + i. Seeds are drawn from names, at least 2,048 apart, so that trainings share no
    patients, also those of different rows: they are independent samples.

    :param name: row of the grid
    :param number: which of its trainings
    """
    digest = hashlib.sha256(f"sepsis/{name}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % _SEED_BLOCKS * _SEEDS_APART


def run(config: Mapping[str, Any], inputs: Mapping[str, bytes]) -> Output:
    """Train once.

    :param config: its configuration, as :func:`expand` makes it
    :param inputs: none
    :return: exact values and regrets, overall and by group; the policy as :data:`TABLE`, the model as :data:`MODEL`
    :raises StudyError: if the decision problem is not the one for which the run was declared
    """
    if _digest(_read()) != config["problem"]:
        raise StudyError("problem: that of the package icu-sepsis here is not the one for which the study was declared")
    settings = _settings(config["training"], "training")
    trained = train(settings, {}, config["group_by"], config["seed"])
    names = GROUPINGS[config["group_by"]]
    result = {
        "seed": config["seed"],
        "episodes": trained.episodes,
        "timesteps": trained.model.num_timesteps,
        "drawn": _rounded(trained.drawn, names),
        "most_likely": _rounded(trained.most_likely, names),
        "curve": [asdict(point) for point in trained.curve],
    }
    table, model = io.BytesIO(), io.BytesIO()
    np.save(table, trained.table)
    trained.model.save(model)
    return Output(result, arrays={TABLE: table.getvalue()}, leaves={MODEL: model.getvalue()})


def finished(store: Store) -> dict[str, list[tuple[Run, dict[str, Any]]]]:
    """The finished trainings of a study and what they found, by row of the grid.

    :param store: where results are kept
    """
    found = {}
    for name, runs in declared(store.description()["grid"]).items():
        results = [(run, store.result(run)) for run in runs]
        found[name] = [(run, result["result"]) for run, result in results if result is not None]
    return found


def trained_policies(folder: str | Path, name: str) -> list[tuple[int, Table, Path]]:
    """The policies of a finished study, for instance to plan with them.

    :param folder: of the study, such as ``runs/study/sepsis``
    :param name: row of the grid, such as ``"full"``
    :return: for each training: its seed, its policy (716, 25), and the file of its model, for ``GroupRelativePPO.load``
    :raises StudyError: if there is no such row, or none of its trainings is finished
    """
    store = Store(Path(folder))
    rows = finished(store) if store.description().get("task") == "sepsis" else {}
    if not rows.get(name):
        known = ", ".join(row for row, done in rows.items() if done) or "none"
        raise StudyError(f"{folder}: got the row {name!r}, expected one with finished trainings: {known}")
    return [
        (result["seed"], np.load(store.array(run, TABLE)), store.folder / "models" / f"{run.key}.{MODEL}")
        for run, result in rows[name]
    ]


def _read() -> SepsisMDP:
    try:
        return read_mdp()
    except MissingDataError as error:
        raise StudyError(str(error).partition("; or pass")[0]) from None


def _digest(problem: SepsisMDP) -> str:
    """Hash of all of its numbers."""
    parts = (problem.rows, problem.next_states, problem.probabilities, problem.rewards, problem.first, problem.centres)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]


def _entry(changes: Any) -> dict[str, Any]:
    """The settings of ``zoo_configs``, with what a grid changes in them, as they stand in a file."""
    base = load_settings("group_relative_ppo", SEPSIS_ENVIRONMENT, GroupRelativePPO)
    return {**_plain(base), **mapping("training", changes)}


def _plain(settings: TrainingSettings) -> dict[str, Any]:
    return {
        "n_timesteps": settings.n_timesteps,
        "n_envs": settings.n_envs,
        "policy": settings.policy,
        "normalize": False if settings.normalize is None else repr(dict(settings.normalize)),
        **settings.algorithm,
    }


def _settings(entry: Mapping[str, Any], where: str) -> TrainingSettings:
    try:
        settings = parse_settings(entry, GroupRelativePPO, where)
    except ValueError as error:
        raise StudyError(str(error)) from None
    for key in ("n_timesteps", "n_envs"):
        whole(f"{where}: {key}", entry[key], 1)
    return replace(settings, algorithm=dict(settings.algorithm))


def _rounded(worth: Worth, names: Sequence[str]) -> dict[str, Any]:
    def by_group(values: Any) -> dict[str, float | None]:
        return {name: None if value != value else round(value, 6) for name, value in zip(names, values.tolist(), strict=True)}

    return {
        **{key: round(value, 6) for key, value in asdict(worth).items() if isinstance(value, float)},
        "group_values": by_group(worth.group_values),
        "group_regrets": by_group(worth.group_regrets),
    }
