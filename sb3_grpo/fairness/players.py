"""Who is evaluated: models, rules by name, and functions, made to act alike."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from hospital_gym.heuristics import HEURISTICS, HeuristicPolicy
from sb3_grpo.common.action_draws import action_distribution, draws_from
from sb3_grpo.common.model_files import load_model
from sb3_grpo.common.playing import Policy
from sb3_grpo.fairness.evaluation_data import Kind
from sb3_grpo.fairness.venue import Venue, View, observation_view

PolicyLike = str | Path | Policy | Callable[[Any], Any]
"""A model, the path of a saved one, a rule or its name, anything with ``predict``, or a function of observations."""


class Player:
    """A policy as it plays: with the observations it expects, and with its actions drawn from a stream for each episode.

    :param name: what tables call it
    :param kind: what it is
    :param policy: what acts
    :param view: what it sees of observations (n, ...); None: all of them as they are
    :param deterministic: whether a model takes its most likely action
    """

    def __init__(self, name: str, kind: Kind, policy: Policy, view: View | None, deterministic: bool) -> None:
        self.name, self.kind, self.policy = name, kind, policy
        self._view = view
        self._is_masked = "action_masks" in inspect.signature(policy.predict).parameters
        self._distribution: Distribution | None = None
        self._deterministic = deterministic
        if isinstance(policy, BaseAlgorithm) and not deterministic:
            self._distribution = action_distribution(policy)
            # gSDE keeps the noise that it has. DQN and TD3 explore in training only: what they learned is their best action
            self._deterministic = self._distribution is None and not getattr(policy, "use_sde", False)
        self._generators: list[np.random.Generator] = []

    @property
    def algorithm(self) -> str:
        """Name of the policy's class, or of the function."""
        policy = self.policy.function if isinstance(self.policy, _Function) else self.policy
        return getattr(policy, "__name__", type(policy).__name__)

    def begin(self, slot: int, seed: int, number: int) -> None:
        """An episode begins: its actions come from a stream of its own.

        :param slot: place in the batch
        :param seed: seed of the episodes
        :param number: number of the episode
        """
        generator = np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=(number, 1)))
        if slot == len(self._generators):
            self._generators.append(generator)
        else:
            self._generators[slot] = generator

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> Any:
        """As the policy's; ``deterministic`` is as the player was made."""
        seen = observation if self._view is None else self._view(observation)
        masks = {"action_masks": action_masks} if self._is_masked and action_masks is not None else {}
        arguments: dict[str, Any] = {"state": state, "episode_start": episode_start, **masks}
        if self._distribution is None:
            return self.policy.predict(seen, deterministic=self._deterministic, **arguments)
        with draws_from(self._distribution, self._generators):
            return self.policy.predict(seen, deterministic=False, **arguments)


class _Function:
    """A function of observations with SB3's ``predict``."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def predict(self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False) -> Any:
        actions = np.asarray(self.function(observation))
        n = len(next(iter(observation.values())) if isinstance(observation, dict) else observation)
        if actions.shape[:1] != (n,):
            raise ValueError(
                f"policy {getattr(self.function, '__name__', self.function)!r}: got actions of shape {actions.shape} for {n} "
                "observations, expected one action for each: functions take observations (n, ...), return actions (n, ...)"
            )
        return actions, None


def make_players(
    policy: PolicyLike | Sequence[PolicyLike] | Mapping[str, PolicyLike],
    names: str | Sequence[str] | None,
    venue: Venue,
    deterministic: bool,
) -> list[Player]:
    """The players that the user means.

    :param policy: one policy, several in a list, or several by name
    :param names: names of one or several policies; by default a rule's name, a file's, or that of the class
    :param venue: where they play
    :param deterministic: whether models take their most likely action
    :raises ValueError: if something is no policy, does not fit the environment, or names are missing or occur twice
    """
    if isinstance(policy, Mapping):
        if names is not None:
            raise ValueError(f"names: got {names!r} beside a dict of policies, expected None: its keys are the names")
        policies: list[Any] = list(policy.values())
        labels = [str(name) for name in policy]
    else:
        policies = list(policy) if isinstance(policy, list | tuple) else [policy]
        given = [names] if isinstance(names, str) else names
        labels = [_default_name(item) for item in policies] if given is None else list(given)
    if len(labels) != len(policies) or len(set(labels)) != len(labels) or not labels:
        raise ValueError(
            f"names: got {labels} for {len(policies)} policies, expected a different one for each: pass names=(...), or a dict"
        )
    return [_player(name, item, venue, deterministic) for name, item in zip(labels, policies, strict=True)]


def _default_name(policy: Any) -> str:
    if isinstance(policy, str | Path):
        return Path(policy).stem if _is_file(policy) else str(policy)
    return getattr(policy, "__name__", type(policy).__name__)


def _is_file(policy: str | Path) -> bool:
    return isinstance(policy, Path) or policy.endswith(".zip")


def _player(name: str, policy: Any, venue: Venue, deterministic: bool) -> Player:
    statistics = None
    if isinstance(policy, str | Path) and _is_file(policy):
        statistics = _saved_statistics(Path(policy), venue)
        policy = load_model(policy)
    elif isinstance(policy, str):
        policy = _rule(policy, venue)
    if isinstance(policy, BaseAlgorithm):
        view = _view_of(statistics or policy.get_vec_normalize_env(), venue)
        _check_spaces(name, policy, venue, changed=view is not None)
        return Player(name, "model", policy, view, deterministic)
    if isinstance(policy, HeuristicPolicy):  # reads the hospital as it is
        return Player(name, "rule", policy, None, deterministic)
    if hasattr(policy, "predict") and not isinstance(policy, type):
        return Player(name, "function", policy, venue.view, deterministic)
    if callable(policy) and not isinstance(policy, type):
        return Player(name, "function", _Function(policy), venue.view, deterministic)
    raise ValueError(
        f"policy {name!r}: got {policy!r}, expected a model, the path of a saved one (.zip), one of the rules "
        f"{sorted(HEURISTICS)}, anything with predict(), or a function from observations to actions"
    )


def _rule(name: str, venue: Venue) -> HeuristicPolicy:
    if name not in HEURISTICS:
        raise ValueError(f"policy: got {name!r}, expected one of the rules {sorted(HEURISTICS)}, or a saved model (.zip)")
    return HEURISTICS[name](venue.envs[0])


def statistics_path(model: Path) -> Path:
    """Where the observation statistics of a saved model stand that was trained with ``VecNormalize``."""
    return model.with_suffix(".vecnormalize.pkl")


def _saved_statistics(path: Path, venue: Venue) -> VecNormalize | None:
    file = statistics_path(path)
    if not file.is_file():
        return None
    return VecNormalize.load(str(file), DummyVecEnv([lambda: venue.envs[0]]))


def _view_of(own: VecNormalize | None, venue: Venue) -> View | None:
    """How a model sees observations: as the environments given show them, normalised by its own statistics if they do not."""
    statistics = None if own is None or venue.normalises else observation_view(own)
    if venue.view is None or statistics is None:
        return venue.view or statistics
    shown = venue.view
    return lambda observation: statistics(shown(observation))


def _check_spaces(name: str, model: BaseAlgorithm, venue: Venue, changed: bool) -> None:
    env = venue.envs[0]
    expected, got = model.observation_space, env.observation_space
    # Wrappers may change the shape, and models turn images to the channel order they know
    if not (changed or is_image_space(got)) and not _same_shape(expected, got):
        raise ValueError(
            f"policy {name!r}: the model sees {expected}, but the environment shows {got}; expected the kind of environment "
            "that it was trained in, with the same wrappers"
        )
    if type(model.action_space) is not type(env.action_space) or model.action_space != env.action_space:
        raise ValueError(f"policy {name!r}: the model acts in {model.action_space}, but the environment in {env.action_space}")


def _same_shape(one: spaces.Space, other: spaces.Space) -> bool:
    if isinstance(one, spaces.Dict) and isinstance(other, spaces.Dict):
        return set(one.spaces) == set(other.spaces) and all(_same_shape(one[key], other[key]) for key in one.spaces)
    return type(one) is type(other) and one.shape == other.shape
