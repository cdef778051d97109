"""The runs that a grid for hospitals declares, each with everything that its result depends on."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from hospital_gym.tuned_thresholds import TUNED_THRESHOLDS
from sb3_grpo.common.evaluation import derived_seed
from sb3_grpo.common.hyperparameters import TrainingSettings, load_settings, parse_settings
from sb3_grpo.study.protocol import MODES, Phase, StudyProtocol
from sb3_grpo.study.runs import Need, Run, StudyError
from sb3_grpo.study.tasks.hospital.declare import AUTO, CHOSEN, Grid, ModelRow, declared
from sb3_grpo.study.tasks.hospital.places import Place, multiplied
from sb3_grpo.study.tasks.hospital.train import MODEL_FILES
from sb3_grpo.training import ALGORITHMS, SMOOTHING, settings_of

CHOICE_FIRST: Final = 1000
"""First validation episode on which lam is chosen; thresholds, hyperparameters and checkpoints use those from 0."""

SEEDS_APART: Final = 128
"""Training seeds are multiples of this, so that no two trainings share an environment's seed (environment i has seed + i)."""

# Measured on the two cores on which `make study` was tried, one run on each
_STEPS_A_SECOND: Final = 23_000.0
_DECISIONS_A_SECOND: Final = 120_000.0
_DECISIONS_A_SECOND_OF_A_RULE: Final = 300_000.0
_SECONDS_A_RUN: Final = 0.5
_DECISIONS_A_REQUEST: Final = 2.7


def expand(grid: Mapping[str, Any], protocol: StudyProtocol | None, phase: Phase) -> list[Run]:
    """The runs of a grid: trainings and rules first, then what needs trained models.

    :param grid: the grid as its file says it
    :param protocol: what was fixed beforehand
    :param phase: ``"validation"`` leaves out everything that plays test episodes
    :raises StudyError: naming key, value and what is accepted; in the test phase also if a scenario's lam is not chosen
    """
    if protocol is None:
        raise StudyError("key 'protocol' is missing: expected the path of a YAML file, or what it would hold")
    read = declared(grid)
    if phase == "test":
        protocol.require_choice([place.name for place in read.scenarios], "protocol")
    trainings = [run for place in read.scenarios for run in _trainings(read, place, protocol)]
    _check_seeds(trainings)
    rules = [run for place in read.scenarios for run in _rules(read, place, protocol, phase)]
    tests = [test for run in trainings for test in _tests(read, run, protocol)] if phase == "test" else []
    return [*trainings, *rules, *tests]


def _trainings(grid: Grid, place: Place, protocol: StudyProtocol) -> Iterator[Run]:
    for row in grid.models:
        settings = _settings(row, grid.training, place)
        for value in row.lam:
            lam = protocol.lam.get(place.name) if value == CHOSEN else value
            if lam is None:  # not chosen yet
                continue
            name = row_name(row.name, lam)
            for seed in range(protocol.seeds if row.seeds is None else row.seeds):
                config = {
                    "kind": "train",
                    "place": place.to_dict(),
                    "row": name,
                    "algorithm": row.algorithm,
                    "settings": asdict(settings),
                    "changes": _changes(row, lam, grid),
                    "seed": seed,
                    "training_seed": training_seed(place.name, name, seed),
                    "checkpoints": grid.checkpoints,
                    "checkpoint_episodes": _episodes(grid, "validation", 0, grid.checkpoint_episodes),
                    "validation_episodes": _episodes(grid, "validation", CHOICE_FIRST, protocol.validation_episodes),
                }
                decisions = _decisions(place) * len(MODES)
                decisions *= grid.checkpoints * grid.checkpoint_episodes + protocol.validation_episodes
                seconds = settings.n_timesteps / _STEPS_A_SECOND + decisions / _DECISIONS_A_SECOND + _SECONDS_A_RUN
                label = f"{place.name}/{name}/seed {seed}"
                yield Run(label, "hospital", config, seconds, leaves=tuple(MODEL_FILES.values()))


def _rules(grid: Grid, place: Place, protocol: StudyProtocol, phase: Phase) -> Iterator[Run]:
    elsewhere = [(entry.name, multiplied(place, entry.name, entry.multiply)) for entry in grid.elsewhere]
    for rule in grid.rules:
        if rule.endswith("-tuned") and place.scenario.name not in TUNED_THRESHOLDS:
            continue
        choice = _episodes(grid, "validation", CHOICE_FIRST, protocol.validation_episodes)
        yield _rule_run(place, place, rule, "validation", choice, "")
        if phase == "test":
            test = _episodes(grid, "test", 0, protocol.test_episodes)
            for name, where in [("", place), *elsewhere]:
                yield _rule_run(place, where, rule, "test", test, name)


def _rule_run(home: Place, place: Place, rule: str, phase: Phase, episodes: Mapping[str, int], elsewhere: str) -> Run:
    config = {"kind": "rule", "place": place.to_dict(), "rule": rule, "row": rule, "phase": phase, "episodes": episodes}
    if elsewhere:
        config["elsewhere"] = elsewhere
    label = "/".join(filter(None, (home.name, rule, elsewhere, phase)))
    seconds = _SECONDS_A_RUN + episodes["n"] * _decisions(place) / _DECISIONS_A_SECOND_OF_A_RULE
    return Run(label, "hospital", config, seconds)


def _tests(grid: Grid, run: Run, protocol: StudyProtocol) -> Iterator[Run]:
    """The test of a trained model; for those of the primary comparison also elsewhere, in the protocol's mode alone."""
    (place,) = [place for place in grid.scenarios if place.name == run.config["place"]["name"]]
    primary = run.config["row"] in (row_name("", 0.0), row_name("", protocol.lam[place.name]))
    places = [("", place)]
    if primary:
        places += [(entry.name, multiplied(place, entry.name, entry.multiply)) for entry in grid.elsewhere]
    episodes = _episodes(grid, "test", 0, protocol.test_episodes)
    for name, where in places:
        modes = (protocol.mode,) if name else MODES
        config = {
            "kind": "test",
            "place": where.to_dict(),
            "row": run.config["row"],
            "seed": run.config["seed"],
            "training": run.hash,
            "modes": list(modes),
            "episodes": episodes,
        }
        if name:
            config["elsewhere"] = name
        needs = {mode: Need(run.key, MODEL_FILES[mode]) for mode in modes}
        seconds = len(modes) * episodes["n"] * _decisions(place) / _DECISIONS_A_SECOND + _SECONDS_A_RUN
        yield Run("/".join(filter(None, (run.label, name, "test"))), "hospital", config, seconds, needs)


def row_name(name: str, lam: float | str | None) -> str:
    """What tables call the models of a row: its name, if it has one, and lam."""
    value = lam if isinstance(lam, str) else f"{lam:g}"
    return ", ".join(filter(None, (name, f"lam={value}")))


def training_seed(scenario: str, row: str, seed: int) -> int:
    """The seed of one training: the same for ever, and for any two trainings so far apart that they share no patients.

    :param scenario: name of the hospital
    :param row: name of the row
    :param seed: number of the training in its row
    :return: a multiple of :data:`SEEDS_APART` below 2^31
    """
    digest = hashlib.sha256(f"{scenario}/{row}/{seed}".encode()).digest()
    return int.from_bytes(digest[:3], "big") * SEEDS_APART


def _check_seeds(runs: list[Run]) -> None:
    """Refuse two trainings with the same patients: of 200 that happens once in a thousand grids."""
    of: dict[int, Run] = {}
    for run in runs:
        other = of.setdefault(run.config["training_seed"], run)
        if other.label != run.label:
            raise StudyError(f"models: {other.label} and {run.label} would meet the same patients; give one row another name")
        if other.hash != run.hash:
            raise StudyError(f"models: two different rows are called {run.config['row']!r}; give one of them a name")


def _settings(row: ModelRow, training: Mapping[str, Any], place: Place) -> TrainingSettings:
    """Settings of the row's files, with those of the grid and the row in place of theirs."""
    algorithm = ALGORITHMS[row.algorithm][0]
    try:
        found = load_settings(row.hyperparameters or row.algorithm, place.settings_id, algorithm)
        entry = {key: getattr(found, key) for key in ("n_timesteps", "n_envs", "policy", "callback")}
        entry |= found.algorithm
        entry |= training
        for key, factor in row.scale.items():
            if key not in entry:
                raise StudyError(f"models: scale: got {key!r}, expected one of {', '.join(sorted(entry))}")
            entry[key] = _scaled(key, entry[key], factor)
        parse_settings(entry, algorithm, "training")
        settings = parse_settings({**entry, **row.set}, algorithm, "models: set")
    except ValueError as error:
        raise StudyError(str(error)) from None
    settings = settings_of(row.algorithm, settings)
    if "normalize" not in {*training, *row.set}:
        settings = replace(settings, normalize=found.normalize)
    if settings.normalize is not None and settings.normalize.get("norm_obs", True):
        raise StudyError("normalize: got norm_obs True, expected False: the study keeps no statistics of observations")
    if settings.n_envs > SEEDS_APART:
        raise StudyError(f"training: n_envs: got {settings.n_envs}, expected at most {SEEDS_APART}")
    return settings


def _scaled(key: str, value: Any, factor: float) -> Any:
    """A number, or the start of a linear schedule, times a factor; whole numbers stay whole."""
    if isinstance(value, str) and value.startswith("lin_"):
        return f"lin_{float(value.removeprefix('lin_')) * factor:g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise StudyError(f"models: scale: {key}: got {value!r} in the settings, expected a number or lin_<number>")
    return max(1, round(value * factor)) if isinstance(value, int) else value * factor


def _changes(row: ModelRow, lam: float | str, grid: Grid) -> dict[str, Any]:
    """Arguments of the algorithm that lam brings along. Plain PPO has no group critic unless the row says so."""
    if lam == AUTO:
        return {"lam": AUTO, "smoothing": SMOOTHING, **grid.auto}
    return {"lam": lam, **({"group_critic": False} if lam == 0 and "group_critic" not in row.set else {})}


def _episodes(grid: Grid, purpose: str, first: int, n: int) -> dict[str, int]:
    return {"seed": derived_seed(grid.seed, purpose), "first": first, "n": n}


def _decisions(place: Place) -> float:
    scenario = place.scenario
    return _DECISIONS_A_REQUEST * scenario.requests_per_day * scenario.horizon_hours / 24.0
