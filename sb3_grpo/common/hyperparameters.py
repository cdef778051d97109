"""Read training settings from the RL-Zoo files in ``zoo_configs``."""

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import yaml
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

_RUN_KEYS: Final = ("n_timesteps", "n_envs", "policy", "normalize")
_LINEAR: Final = "lin_"


@dataclass(frozen=True)
class TrainingSettings:
    """How to train one algorithm on one environment.

    :param n_timesteps: length of a full training, in time steps of all environments together
    :param n_envs: number of environments
    :param policy: name of the policy class
    :param normalize: keyword arguments of ``VecNormalize``; None: observations and rewards stay as they are
    :param algorithm: further keyword arguments of the algorithm, as they stand in the file
    """

    n_timesteps: int
    n_envs: int
    policy: str
    normalize: Mapping[str, Any] | None
    algorithm: Mapping[str, Any]

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the algorithm, with ``lin_x`` turned into a schedule that falls from x to 0."""
        return {key: _schedule(key, value) for key, value in self.algorithm.items()}


def load_settings(algo: str, env_id: str, algorithm_class: type) -> TrainingSettings:
    """The settings of ``zoo_configs/<algo>/<scenario>.yml``.

    ``Hospital-Urban-v0`` is read from ``urban.yml``; ``Hospital-v0``, a hospital of one's own, from ``default.yml``. A file
    maps environment ids, or ``default``, to settings in the format of RL Baselines3 Zoo; ``policy_kwargs`` is a mapping.

    :param algo: folder name, such as ``group_robust_ppo``
    :param env_id: id of the environment
    :param algorithm_class: the class whose constructor takes the settings
    :return: the settings
    :raises ValueError: if there is no such file or entry, or a key that neither a run nor the algorithm knows
    """
    scenario = env_id.removeprefix("Hospital").removesuffix("v0").strip("-").lower() or "default"
    folder = resources.files("zoo_configs") / algo
    file = folder / f"{scenario}.yml"
    if not file.is_file():
        known = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        raise ValueError(f"{env_id!r}: there is no zoo_configs/{algo}/{scenario}.yml, only {known}")
    name = f"zoo_configs/{algo}/{scenario}.yml"
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    for key in (env_id, "default"):
        if key in entries:
            return parse_settings(entries[key], algorithm_class, f"{name}: {key}")
    raise ValueError(f"{name}: got {sorted(entries)}, expected an entry {env_id!r} or 'default'")


def parse_settings(entry: Mapping[str, Any], algorithm_class: type, where: str) -> TrainingSettings:
    """Settings from one entry of a file.

    :param entry: the mapping below the environment id
    :param algorithm_class: the class whose constructor takes the settings
    :param where: what error messages call the place
    :return: the settings
    :raises ValueError: if a key is missing or unknown, naming it and those that are accepted
    """
    accepted = set(inspect.signature(algorithm_class).parameters) - {"env"} | set(_RUN_KEYS)
    for key in entry:
        if key not in accepted:
            raise ValueError(f"{where}: unknown key {key!r}; known keys are {', '.join(sorted(accepted))}")
    for key in ("n_timesteps", "policy"):
        if key not in entry:
            raise ValueError(f"{where}: key {key!r} is missing")
    normalize = _normalize_arguments(entry.get("normalize", False), where)
    kwargs = {key: value for key, value in entry.items() if key not in _RUN_KEYS}
    settings = TrainingSettings(int(entry["n_timesteps"]), int(entry.get("n_envs", 1)), entry["policy"], normalize, kwargs)
    try:
        settings.arguments()
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return settings


def _normalize_arguments(value: Any, where: str) -> dict[str, Any] | None:
    """Arguments of ``VecNormalize``, which RL Zoo writes as true, false or a string that holds a Python dict."""
    if isinstance(value, bool):
        return {} if value else None
    try:
        arguments = ast.literal_eval(value)
    except (TypeError, ValueError, SyntaxError):
        arguments = None
    if not isinstance(arguments, dict) or not set(arguments) <= set(inspect.signature(VecNormalize).parameters):
        raise ValueError(
            f"{where}: normalize: got {value!r}, expected true, false or a string such as "
            "\"{'norm_obs': False, 'norm_reward': True}\" with arguments of VecNormalize"
        )
    return arguments


def _schedule(key: str, value: Any) -> Any:
    if not (isinstance(value, str) and value.startswith(_LINEAR)):
        return value
    try:
        return LinearSchedule(float(value.removeprefix(_LINEAR)), 0.0, 1.0)
    except ValueError:
        raise ValueError(f"{key}: got {value!r}, expected a number or lin_<number>") from None
