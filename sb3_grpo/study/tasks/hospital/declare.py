"""The keys of a grid for hospitals, checked before anything runs: each message names key, value and what is accepted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hospital_gym.heuristics import HEURISTICS
from hospital_gym.scenarios import SCENARIOS
from sb3_grpo.common.checks import is_number, is_positive
from sb3_grpo.study.checks import check_keys, mapping, sequence, whole
from sb3_grpo.study.runs import StudyError
from sb3_grpo.study.tasks.hospital.places import Place, multiplied
from sb3_grpo.training import ALGORITHMS

AUTO: Final = "auto"
CHOSEN: Final = "chosen"
ALL: Final = "all"
PRIMARY: Final = ("lam=0", "chosen")


@dataclass(frozen=True)
class ModelRow:
    """Models that are trained in every scenario.

    :param name: what stands before lam in tables; empty for the algorithm as it is
    :param algorithm: a key of :data:`sb3_grpo.training.ALGORITHMS`
    :param hyperparameters: folder of ``zoo_configs`` whose settings are used; empty for the algorithm's own
    :param lam: values of lam: numbers, ``"auto"``, or ``"chosen"``, the protocol's
    :param seeds: number of trainings; None: the protocol's
    :param set: hyperparameters that differ, also keyword arguments of the algorithm
    :param scale: factors on numbers of the settings
    """

    name: str = ""
    algorithm: str = "group_robust_ppo"
    hyperparameters: str = ""
    lam: tuple[Any, ...] = (0.0,)
    seeds: int | None = None
    set: Mapping[str, Any] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Elsewhere:
    """A change of every hospital in which the models of the primary comparison, and the rules, are played as well.

    :param name: what tables call it
    :param multiply: factors on the hospital's numbers
    """

    name: str
    multiply: Mapping[str, float]


@dataclass(frozen=True)
class Grid:
    """A grid.

    :param scenarios: hospitals
    :param models: what is trained
    :param rules: names of rules in use
    :param training: hyperparameters that replace those of the files, for every model
    :param auto: targets of ``lam: auto``: ``min_benefit`` and ``max_gap``
    :param seed: seed from which those of the episodes are derived
    :param checkpoints: number of looks at validation episodes during a training, the last one at its end
    :param checkpoint_episodes: number of episodes of each look
    :param elsewhere: changed hospitals
    """

    scenarios: tuple[Place, ...]
    models: tuple[ModelRow, ...]
    rules: tuple[str, ...]
    training: Mapping[str, Any]
    auto: Mapping[str, Any]
    seed: int
    checkpoints: int
    checkpoint_episodes: int
    elsewhere: tuple[Elsewhere, ...]


_KEYS: Final = (
    "scenarios",
    "models",
    "rules",
    "training",
    "auto",
    "seed",
    "checkpoints",
    "checkpoint_episodes",
    "elsewhere",
)


def declared(content: Mapping[str, Any]) -> Grid:
    """A grid from its file.

    :param content: what the file says
    :raises StudyError: naming key, value and what is accepted
    """
    check_keys("grid", content, _KEYS, ("scenarios",))
    numbers = {"seed": (0, 0), "checkpoints": (8, 1), "checkpoint_episodes": (32, 1)}
    for key, (default, least) in numbers.items():
        whole(key, content.get(key, default), least)
    scenarios = tuple(_place(entry) for entry in sequence("scenarios", content["scenarios"]))
    models = tuple(_model_row(entry) for entry in sequence("models", content.get("models", [])))
    elsewhere = tuple(_elsewhere(entry, scenarios) for entry in sequence("elsewhere", content.get("elsewhere", [])))
    for key, names in (
        ("scenarios", [place.name for place in scenarios]),
        ("elsewhere", [entry.name for entry in elsewhere]),
    ):
        if len(set(names)) != len(names):
            raise StudyError(f"{key}: got {names}, expected different names")
    auto = mapping("auto", content.get("auto", {}))
    check_keys("auto", auto, ("min_benefit", "max_gap"))
    if any(AUTO in row.lam for row in models) and not auto:
        raise StudyError("auto: missing, expected min_benefit or max_gap, because a row of models has lam: auto")
    return Grid(
        scenarios=scenarios,
        models=models,
        rules=_rules(content.get("rules", ALL)),
        training=mapping("training", content.get("training", {})),
        auto=auto,
        seed=content.get("seed", 0),
        checkpoints=content.get("checkpoints", 8),
        checkpoint_episodes=content.get("checkpoint_episodes", 32),
        elsewhere=elsewhere,
    )


def _place(entry: Any) -> Place:
    if isinstance(entry, str):
        entry = {"name": entry if entry in SCENARIOS else "", "base": entry}
    entry = mapping("scenarios", entry)
    check_keys("scenarios", entry, ("name", "base", "set"), ("base",))
    try:
        base = str(entry["base"])
        name = str(entry.get("name") or Place("", base, {}).scenario.name)
        place = Place(name, base, mapping("scenarios: set", entry.get("set", {})))
        place.to_dict()
    except (OSError, ValueError) as error:
        raise StudyError(f"scenarios: got {entry['base']!r}: {' '.join(str(error).split())}") from None
    return place


def _model_row(entry: Any) -> ModelRow:
    entry = mapping("models", entry)
    keys = tuple(ModelRow.__dataclass_fields__)
    check_keys("models", entry, keys, ("lam",))
    lam = sequence("models: lam", entry["lam"])
    for value in lam:
        if not (value in (AUTO, CHOSEN) or (is_number(value) and 0 <= value <= 1)):
            raise StudyError(f"models: lam: got {value!r}, expected a number in [0, 1], {AUTO} or {CHOSEN}")
    algorithm = entry.get("algorithm", ModelRow.algorithm)
    if algorithm not in ALGORITHMS:
        raise StudyError(f"models: algorithm: got {algorithm!r}, expected one of {', '.join(ALGORITHMS)}")
    if entry.get("seeds") is not None:
        whole("models: seeds", entry["seeds"], 1)
    scale = mapping("models: scale", entry.get("scale", {}))
    for key, factor in scale.items():
        if not is_positive(factor):
            raise StudyError(f"models: scale: {key}: got {factor!r}, expected a number > 0")
    changes = mapping("models: set", entry.get("set", {}))
    if (changes or scale) and not entry.get("name"):
        raise StudyError("models: name: missing, expected one for a row with set or scale: tables tell rows apart by it")
    numbers = tuple(value if isinstance(value, str) else float(value) for value in lam)
    return ModelRow(**{**entry, "lam": numbers, "set": changes, "scale": scale})


def _elsewhere(entry: Any, scenarios: Sequence[Place]) -> Elsewhere:
    entry = mapping("elsewhere", entry)
    check_keys("elsewhere", entry, ("name", "multiply"), ("name", "multiply"))
    factors = mapping("elsewhere: multiply", entry["multiply"])
    for key, factor in factors.items():
        if not is_number(factor):
            raise StudyError(f"elsewhere: multiply: {key}: got {factor!r}, expected a number")
    try:
        for place in scenarios:
            multiplied(place, entry["name"], factors).to_dict()
    except ValueError as error:
        raise StudyError(f"elsewhere: {entry['name']}: {' '.join(str(error).split())}") from None
    return Elsewhere(str(entry["name"]), factors)


def _rules(value: Any) -> tuple[str, ...]:
    if value == ALL:
        return tuple(HEURISTICS)
    for name in sequence("rules", value):
        if name not in HEURISTICS:
            raise StudyError(f"rules: got {name!r}, expected {ALL} or some of {', '.join(HEURISTICS)}")
    return tuple(value)
