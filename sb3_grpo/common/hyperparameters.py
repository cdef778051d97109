"""Read training settings from the RL-Zoo files in ``zoo_configs``."""

import ast
import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

_RUN_KEYS: Final = ("n_timesteps", "n_envs", "policy", "normalize", "callback")
_LINEAR: Final = "lin_"
_HOSPITAL: Final = "Hospital"


@dataclass(frozen=True)
class TrainingSettings:
    """How to train one algorithm on one environment.

    :param n_timesteps: length of a full training, in time steps of all environments together
    :param n_envs: number of environments
    :param policy: name of the policy class: one that the algorithm knows, or with its module
    :param normalize: keyword arguments of ``VecNormalize``; None: observations and rewards stay as they are
    :param algorithm: further keyword arguments of the algorithm, as they stand in the file
    :param callback: callbacks of the training, as they stand in the file: each the name of a class with its module, or a
        mapping from that name to keyword arguments
    """

    n_timesteps: int
    n_envs: int
    policy: str
    normalize: Mapping[str, Any] | None
    algorithm: Mapping[str, Any]
    callback: Sequence[str | Mapping[str, Any]] = ()

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the algorithm, with ``lin_x`` turned into a schedule that falls from x to 0, and
        ``dict(activation_fn=nn.ReLU)`` into a dictionary."""
        return {
            key: _policy_kwargs(value) if key == "policy_kwargs" else _schedule(key, value)
            for key, value in self.algorithm.items()
        }

    def policy_argument(self) -> Any:
        """The algorithm's argument ``policy``: a name that it knows, or the class."""
        module, _, name = self.policy.rpartition(".")
        return getattr(importlib.import_module(module), name) if module else self.policy

    def make_callbacks(self) -> list[BaseCallback]:
        """New callbacks, for one training.

        :raises ValueError: if there is no such class, or it does not take the arguments
        """
        return [_callback(entry) for entry in self.callback]


def load_settings(algo: str, env_id: str, algorithm_class: type) -> TrainingSettings:
    """The settings of an algorithm for an environment, from :func:`settings_file`.

    A file maps environment ids, or ``default``, to settings in the format of RL Baselines3 Zoo; ``policy_kwargs`` is a mapping
    or, where it names an activation function, a string such as ``dict(net_arch=[64], activation_fn=nn.ReLU)``.

    :param algo: folder name, such as ``group_robust_ppo``
    :param env_id: id of the environment
    :param algorithm_class: the class whose constructor takes the settings
    :return: the settings
    :raises ValueError: if there is no such file or entry, or a key that neither a run nor the algorithm knows
    """
    file, key = settings_file(algo, env_id)
    return parse_settings(_entries(file)[key], algorithm_class, f"zoo_configs/{algo}/{file.name}: {key}")


def settings_file(algo: str, env_id: str) -> tuple[Path, str]:
    """The file of ``zoo_configs`` that holds an algorithm's settings for an environment.

    ``Hospital-Urban-v0`` is looked for in ``<algo>/urban.yml``; hospitals without a file of their own, among them
    ``Hospital-v0``, one's own hospital, in ``<algo>/default.yml``, where other environments find the entry ``default``.

    :param algo: folder name, such as ``group_robust_ppo``
    :param env_id: id of the environment
    :return: the file, and the key of the entry in it
    :raises ValueError: if there is none
    """
    scenario = env_id.removeprefix(_HOSPITAL).removesuffix("v0").strip("-").lower() if env_id.startswith(_HOSPITAL) else ""
    folder = Path(str(resources.files("zoo_configs"))) / algo
    for name in dict.fromkeys((f"{scenario or 'default'}.yml", "default.yml")):
        file = folder / name
        if not file.is_file():
            continue
        if env_id in _entries(file):
            return file, env_id
        if not env_id.startswith(_HOSPITAL):
            return file, "default"
    known = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    raise ValueError(f"{env_id!r}: there is no zoo_configs/{algo}/{scenario or 'default'}.yml, only {known}")


def _entries(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


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
    told = entry.get("callback") or []
    settings = TrainingSettings(
        n_timesteps=int(entry["n_timesteps"]),
        n_envs=int(entry.get("n_envs", 1)),
        policy=entry["policy"],
        normalize=normalize,
        algorithm=kwargs,
        callback=told if isinstance(told, list) else [told],
    )
    try:
        settings.arguments()
        settings.make_callbacks()
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


def _callback(entry: Any) -> BaseCallback:
    """A callback as RL Zoo writes it: the name of its class, or that as the only key of a mapping to its arguments."""
    name, arguments = next(iter(entry.items())) if isinstance(entry, Mapping) and len(entry) == 1 else (entry, {})
    try:
        module, _, class_name = name.rpartition(".")
        made = getattr(importlib.import_module(module), class_name)(**(arguments or {}))
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise ValueError(f"callback: got {entry!r}, expected the name of a class, or it with its arguments: {error}") from None
    if not isinstance(made, BaseCallback):
        raise ValueError(f"callback: got {entry!r}, expected the name of a callback's class with its module")
    return made


def _schedule(key: str, value: Any) -> Any:
    if not (isinstance(value, str) and value.startswith(_LINEAR)):
        return value
    try:
        return LinearSchedule(float(value.removeprefix(_LINEAR)), 0.0, 1.0)
    except ValueError:
        raise ValueError(f"{key}: got {value!r}, expected a number or lin_<number>") from None


def _policy_kwargs(value: Any) -> Any:
    """RL Zoo's way to write classes: ``dict(activation_fn=nn.ReLU, net_arch=[64])``, of which no code is run here."""
    if not isinstance(value, str):
        return value
    try:
        call = ast.parse(value, mode="eval").body
        if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "dict" and not call.args):
            raise ValueError
        return {str(keyword.arg): _literal(keyword.value) for keyword in call.keywords}
    except (ValueError, SyntaxError, AttributeError):
        raise ValueError(
            f"policy_kwargs: got {value!r}, expected a mapping or a string such as dict(net_arch=[64], activation_fn=nn.ReLU)"
        ) from None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "nn":
        return getattr(nn, node.attr)
    return ast.literal_eval(node)
