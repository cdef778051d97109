"""What a learned policy tells a search: how likely it takes each action, and what it thinks a moment is worth."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_grpo.common.checks import is_number
from sb3_grpo.common.playing import stacked
from sb3_grpo.planning.simulation import Mask

Floats = npt.NDArray[np.float64]


class Guide:
    """Prior and value of a model, rule or nobody.

    An actor-critic model of SB3 or sb3-contrib gives probabilities and values; a group critic's are summed, or weighted.
    Anything else with ``predict`` gives one action, and no value. Nobody gives equal probabilities, and no value.

    :param model: the model, rule, or None
    :param n_actions: number of actions n
    :param group_weights: weight of each group's value, shape (G,); None: one each
    :param trust: share of the prior that the policy or rule gets, in [0, 1]; the rest is spread over the valid actions
    :raises ValueError: if it is none of these, has memory, or acts in other actions
    """

    def __init__(self, model: Any, n_actions: int, group_weights: Floats | None = None, trust: float = 1.0) -> None:
        if not (is_number(trust) and 0.0 <= trust <= 1.0):
            raise ValueError(f"trust: got {trust!r}, expected a number from 0 to 1")
        self.n_actions, self.group_weights, self.trust = n_actions, group_weights, trust
        self._policy: Any = None
        self._rule = self._statistics = None
        if isinstance(model, BaseAlgorithm) and isinstance(model.policy, RecurrentActorCriticPolicy):
            raise ValueError(f"model: got a {type(model).__name__}, expected a policy without memory: a search has no history")
        if isinstance(model, BaseAlgorithm) and getattr(model.action_space, "n", None) != n_actions:
            raise ValueError(f"model: acts in {model.action_space}, expected the environment's Discrete({n_actions})")
        if isinstance(model, BaseAlgorithm) and isinstance(model.policy, (ActorCriticPolicy, MaskableActorCriticPolicy)):
            self._policy, self._statistics = model.policy, model.get_vec_normalize_env()
            self._policy.set_training_mode(False)
            masks = inspect.signature(self._policy.get_distribution).parameters
            self._takes_masks = "action_masks" in masks
        elif model is not None:
            if not hasattr(model, "predict") or isinstance(model, type):
                raise ValueError(f"model: got {model!r}, expected a model of SB3, anything with predict(), or None")
            self._rule = model
            self._takes_masks = "action_masks" in inspect.signature(model.predict).parameters

    @property
    def acts(self) -> bool:
        """Whether it has an opinion on what to do."""
        return self._policy is not None or self._rule is not None

    @property
    def has_values(self) -> bool:
        """Whether it knows what moments are worth."""
        return self._policy is not None

    def prior(self, observation: Any, mask: Mask) -> Floats:
        """Probability of each action, shape (n,); 0 for those that are not valid.

        :param observation: what is observed
        :param mask: valid actions, shape (n,), at least one
        """
        valid = mask / mask.sum()
        if not self.acts:
            return valid
        policy = np.where(mask, self._probabilities(observation, mask), 0.0)
        total = policy.sum()
        return valid if total <= 0.0 else self.trust * policy / total + (1.0 - self.trust) * valid

    def values(self, observations: Sequence[Any]) -> Floats:
        """What moments are worth, in units of reward, shape (m,); zeros if it does not know.

        :param observations: what is observed, m of them
        """
        if self._policy is None or len(observations) == 0:
            return np.zeros(len(observations))
        return self.batch_values(stacked(observations))

    def batch_values(self, observations: Any) -> Floats:
        """As :meth:`values`, of observations that are stacked already; only for a model with a critic.

        :param observations: (m, ...), or a dictionary of such
        """
        with th.no_grad():
            tensor, _ = self._policy.obs_to_tensor(self._seen(observations))
            values = self._policy.predict_values(tensor).double().cpu().numpy()
        if self.group_weights is None:
            total = values.sum(axis=1)
        elif values.shape[1] == len(self.group_weights):
            total = values @ self.group_weights
        else:
            raise ValueError(f"group_weights: got {len(self.group_weights)} for a critic of {values.shape[1]} values")
        statistics: Any = self._statistics
        if statistics is not None and statistics.norm_reward:
            total = total * np.sqrt(statistics.ret_rms.var + statistics.epsilon)
        return np.asarray(total)

    def repair(self, action: int, observation: Any, mask: Mask) -> int:
        """The action if it is valid, else the guide's own; without a guide, one of the valid ones in its place.

        :param action: number of an action
        :param observation: what is observed
        :param mask: valid actions, shape (n,), at least one
        """
        if mask[action]:
            return action
        if not self.acts:
            valid = np.flatnonzero(mask)
            return int(valid[action % len(valid)])
        return int(self.prior(observation, mask).argmax())

    def _probabilities(self, observation: Any, mask: Mask) -> Floats:
        masks: dict[str, Any] = {"action_masks": mask[None]} if self._takes_masks else {}
        if self._policy is None:
            rule: Any = self._rule
            choice = rule.predict(stacked([observation]), deterministic=True, **masks)[0]
            return np.eye(self.n_actions)[int(np.asarray(choice)[0])]
        with th.no_grad():
            tensor, _ = self._policy.obs_to_tensor(self._seen(stacked([observation])))
            inner = self._policy.get_distribution(tensor, **masks).distribution
            return np.asarray(inner.probs[0].double().cpu().numpy())

    def _seen(self, observation: Any) -> Any:
        return observation if self._statistics is None else self._statistics.normalize_obs(observation)
