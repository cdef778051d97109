"""What a search for hyperparameters tries. The space is the same for every algorithm, so that none has more to choose from."""

from collections.abc import Callable
from typing import Any, Final

import optuna
from rl_zoo3.utils import SimpleLinearSchedule
from torch import nn

ACTORS: Final = ("linear", "16", "64-64", "128-128", "256-128-64")
"""Sizes of the hidden layers of the actor; without any its logits are linear in the observation."""

CRITICS: Final = ("64-64", "128-128", "256-128-64", "256-256")
"""Sizes of the hidden layers of the critic."""

ACTIVATIONS: Final = {"tanh": nn.Tanh, "relu": nn.ReLU}

_ROLLOUT: Final = (11, 15)  # decisions of all environments between updates, as a power of 2
_LEAST_ROLLOUTS: Final = 20
_CONVERTED: Final = (
    "n_steps_pow",
    "batch_size_pow",
    "one_minus_gamma",
    "one_minus_gae_lambda",
    "actor",
    "critic",
    "activation_fn",
)


def suggest(
    trial: optuna.Trial, n_envs: int, robust: bool, discounts_steps: bool, n_timesteps: int | None = None
) -> dict[str, Any]:
    """Draw the parameters of a trial.

    :param trial: the trial
    :param n_envs: number of environments, of which the length of a rollout in each follows
    :param robust: whether the algorithm has a trade-off ``lam``
    :param discounts_steps: whether ``gamma`` discounts; with a discount on elapsed time it has nothing to say
    :param n_timesteps: length of a training, of which a rollout is at most the 20th part (but may be 4096); None: any
    :return: the parameters, as they are kept with the trial
    """
    envs_pow = max(n_envs, 1).bit_length() - 1
    least, most = _ROLLOUT
    if n_timesteps is not None:
        most = min(most, max(least + 1, (n_timesteps // _LEAST_ROLLOUTS).bit_length() - 1))
    parameters: dict[str, Any] = {
        "n_steps_pow": trial.suggest_int("n_steps_pow", max(3, least - envs_pow), max(4, most - envs_pow)),
        "batch_size_pow": trial.suggest_int("batch_size_pow", 7, 11),
        "n_epochs": trial.suggest_int("n_epochs", 2, 10),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 2e-3, log=True),
        "one_minus_gae_lambda": trial.suggest_float("one_minus_gae_lambda", 0.005, 0.1, log=True),
        "ent_coef": trial.suggest_float("ent_coef", 1e-6, 1e-2, log=True),
        "clip_range": trial.suggest_categorical("clip_range", [0.1, 0.2, 0.3]),
        "actor": trial.suggest_categorical("actor", list(ACTORS)),
        "critic": trial.suggest_categorical("critic", list(CRITICS)),
        "activation_fn": trial.suggest_categorical("activation_fn", list(ACTIVATIONS)),
    }
    if discounts_steps:
        parameters["one_minus_gamma"] = trial.suggest_float("one_minus_gamma", 1e-4, 0.03, log=True)
    if robust:
        parameters["lam"] = trial.suggest_float("lam", 0.05, 0.6)
    return parameters


def settings_of(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """The settings that the parameters of a trial mean, as they stand in YAML. The learning rate falls linearly to 0.

    :param sampled_params: see :func:`suggest`
    :return: settings, of which those that were not searched are missing
    """
    settings = {key: value for key, value in sampled_params.items() if key not in _CONVERTED}
    settings["n_steps"] = 2 ** sampled_params["n_steps_pow"]
    settings["batch_size"] = 2 ** sampled_params["batch_size_pow"]
    settings["gae_lambda"] = round(1 - sampled_params["one_minus_gae_lambda"], 6)
    if "one_minus_gamma" in sampled_params:
        settings["gamma"] = round(1 - sampled_params["one_minus_gamma"], 6)
    for key in ("ent_coef", "lam"):
        if key in sampled_params:
            settings[key] = _four_digits(sampled_params[key])
    settings["learning_rate"] = f"lin_{_four_digits(sampled_params['learning_rate'])}"
    activation = ACTIVATIONS[sampled_params["activation_fn"]].__name__
    settings["policy_kwargs"] = f"dict(net_arch={_layers(sampled_params)}, activation_fn=nn.{activation})"
    return settings


def _layers(parameters: dict[str, Any]) -> dict[str, list[int]]:
    """Argument ``net_arch`` of the policy."""
    return {
        key: [int(size) for size in parameters[of].split("-") if size.isdigit()]
        for key, of in (("pi", "actor"), ("vf", "critic"))
    }


def _four_digits(number: float) -> float:
    return float(f"{number:.4g}")


def arguments_of(parameters: dict[str, Any]) -> dict[str, Any]:
    """The same as :func:`settings_of`, as the algorithm's constructor takes them."""
    return settings_of(parameters) | {
        "learning_rate": SimpleLinearSchedule(settings_of(parameters)["learning_rate"].removeprefix("lin_")),
        "policy_kwargs": {"net_arch": _layers(parameters), "activation_fn": ACTIVATIONS[parameters["activation_fn"]]},
    }


def sampler(robust: bool) -> Callable[..., dict[str, Any]]:
    """What RL Zoo calls for a trial in an environment that is no hospital.

    :param robust: see :func:`suggest`
    """

    def sample(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]) -> dict[str, Any]:
        return arguments_of(suggest(trial, n_envs, robust, discounts_steps=True))

    return sample
