"""Load a saved model without knowing which algorithm it was trained with."""

import inspect
from pathlib import Path
from typing import Any, Final

import sb3_contrib
import stable_baselines3
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file

#: Constructor arguments that no file holds
_NOT_SAVED: Final = frozenset({"policy", "env", "device", "_init_setup_model"})
#: Least share of a constructor's arguments that a file of the algorithm holds; the oldest algorithms hold 13 of 16
_LEAST_SHARE: Final = 0.75


def known_algorithms() -> dict[str, type[BaseAlgorithm]]:
    """Algorithms of this package, of Stable-Baselines3 and of sb3-contrib, by name."""
    import sb3_grpo

    classes = (value for module in (sb3_grpo, stable_baselines3, sb3_contrib) for value in vars(module).values())
    return {value.__name__: value for value in classes if inspect.isclass(value) and issubclass(value, BaseAlgorithm)}


def saved_algorithm(path: str | Path) -> type[BaseAlgorithm]:
    """
    Which algorithm wrote a file. SB3's files do not name it, but hold the policy's class and the algorithm's attributes. Among
    the algorithms whose policies are closest to that class, the one whose constructor arguments the file holds best.

    :param path: File written by ``model.save()``. Loading runs code that the file brings: open only files you trust
    :return: The class
    :raises ValueError: If it is no such file, or no algorithm known here wrote it
    """
    try:
        data = load_from_zip_file(path, load_data=True, device="cpu")[0]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{str(path)!r}: expected a file written by model.save(): {error}") from None
    policy_class = (data or {}).get("policy_class")
    if data is None or not inspect.isclass(policy_class):
        raise ValueError(f"{str(path)!r}: got a file without policy class, expected one written by model.save()")
    ranked = []
    for name, algorithm in known_algorithms().items():
        root = _policy_root(algorithm)
        if root not in policy_class.__mro__:
            continue
        arguments = set(inspect.signature(algorithm).parameters) - _NOT_SAVED
        held = len(arguments & set(data))
        if held >= _LEAST_SHARE * len(arguments):
            missing = len(arguments) - held
            ranked.append((policy_class.__mro__.index(root), missing - held, name, algorithm))
    if not ranked:
        raise ValueError(
            f"{str(path)!r}: got a model with a {policy_class.__name__} that none of {sorted(known_algorithms())} writes; "
            "load it in Python with its own class, and call evaluate_fairness(model, env)"
        )
    return min(ranked, key=lambda entry: entry[:3])[-1]


def _policy_root(algorithm: type[BaseAlgorithm]) -> type[Any]:
    """The most general of an algorithm's policies."""
    return min(algorithm.policy_aliases.values(), key=lambda policy: len(policy.__mro__))


def load_model(path: str | Path, device: th.device | str = "cpu") -> BaseAlgorithm:
    """
    :param path: File written by ``model.save()``, see :func:`saved_algorithm`
    :param device: Where to put the model
    :return: The model
    :raises ValueError: If the algorithm cannot be told
    """
    return saved_algorithm(path).load(path, device=device)
