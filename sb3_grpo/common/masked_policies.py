"""Policies that read which actions are valid from the observation itself."""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize
from torch import nn

#: What the logits of invalid actions are set to, as in sb3-contrib
INVALID_LOGIT = -1e8


class _MaskPassingExtractor(nn.Module):
    """
    Hands the mask on behind the actor's latent code, so that the action net finds it in every call of SB3's policy.

    :param extractor: The extractor of the policy
    :param n_inputs: Number of inputs of the extractor. What stands behind them, if anything, does not concern it
    :param n_actions: Number of actions n; the actor's last n inputs are the mask
    """

    def __init__(self, extractor: MlpExtractor, n_inputs: int, n_actions: int):
        super().__init__()
        self.extractor = extractor
        self.n_inputs = n_inputs
        self.n_actions = n_actions
        self.latent_dim_pi, self.latent_dim_vf = extractor.latent_dim_pi, extractor.latent_dim_vf

    def forward(self, features: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: th.Tensor) -> th.Tensor:
        latent = self.extractor.forward_actor(features[:, : self.n_inputs])
        return th.cat([latent, features[:, -self.n_actions :]], dim=1)

    def forward_critic(self, features: th.Tensor) -> th.Tensor:
        return self.extractor.forward_critic(features[:, : self.n_inputs])


class _MaskedLogits(nn.Module):
    """
    The action net with the logits of invalid actions out of reach.

    :param action_net: The action net of the policy
    :param n_actions: Number of actions n; the last n inputs are the mask
    """

    def __init__(self, action_net: nn.Module, n_actions: int):
        super().__init__()
        self.action_net = action_net
        self.n_actions = n_actions

    def forward(self, latent: th.Tensor) -> th.Tensor:
        logits = self.action_net(latent[:, : -self.n_actions])
        return logits.masked_fill(latent[:, -self.n_actions :] < 0.5, INVALID_LOGIT)


class ObservationMaskMixin(BasePolicy):
    """
    Restricts an actor-critic policy to the valid actions, where the last entries of the observation are the mask: 1 for a
    valid action, 0 for an invalid one. Goes before the policy in the list of base classes.

    Unlike masks handed over separately, this one is there wherever the observation is: in ``predict()``, in evaluation, in RL
    Zoo's enjoy. The mask must stay 0 and 1: group-robust algorithms refuse ``VecNormalize(norm_obs=True)``.

    :raises ValueError: If the actions are not Discrete(n), the observation is not a flat Box of more than n entries of
        which the last n have the limits 0 and 1, or a features extractor replaces the observation
    """

    features_dim: int

    @property
    def _n_latent_inputs(self) -> int:
        """Number of inputs of actor and critic."""
        return self.features_dim

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        actions, observations = self.action_space, self.observation_space
        if not isinstance(actions, spaces.Discrete):
            raise ValueError(f"action_space: got {actions}, expected Discrete(n) for a policy that reads a mask")
        flat = isinstance(observations, spaces.Box) and len(observations.shape) == 1 and observations.shape[0] > actions.n
        expected = f"expected a flat Box whose last {actions.n} entries are the mask, with limits 0 and 1"
        if not flat:
            raise ValueError(f"observation_space: got {observations}, {expected}")
        low, high = observations.low[-actions.n :], observations.high[-actions.n :]  # type: ignore[attr-defined]
        if not (np.all(low == 0) and np.all(high == 1)):
            raise ValueError(f"observation_space: got limits {low} and {high} of the last {actions.n} entries, {expected}")
        if not isinstance(self.features_extractor, FlattenExtractor):
            raise ValueError(
                f"features_extractor_class: got {type(self.features_extractor).__name__}, expected FlattenExtractor for a "
                "policy that reads a mask: any other may not hand the mask on"
            )
        self.mlp_extractor: Any = _MaskPassingExtractor(self.mlp_extractor, self._n_latent_inputs, int(actions.n))
        self.action_net: Any = _MaskedLogits(self.action_net, int(actions.n))


class MaskedActorCriticPolicy(ObservationMaskMixin, ActorCriticPolicy):
    """``ActorCriticPolicy`` restricted to the valid actions, see :class:`ObservationMaskMixin`."""


class MaskedRecurrentActorCriticPolicy(ObservationMaskMixin, RecurrentActorCriticPolicy):
    """``RecurrentActorCriticPolicy`` restricted to the valid actions, see :class:`ObservationMaskMixin`."""

    @property
    def _n_latent_inputs(self) -> int:
        return self.lstm_output_dim

    def _process_sequence(  # type: ignore[override]  # static in the parent, which calls it as a method
        self,
        features: th.Tensor,
        lstm_states: tuple[th.Tensor, th.Tensor],
        episode_starts: th.Tensor,
        lstm: nn.LSTM,
    ) -> tuple[th.Tensor, Any]:
        """See the parent. The mask goes past the LSTM, behind its output: both have one row for each observation."""
        output, states = RecurrentActorCriticPolicy._process_sequence(features, lstm_states, episode_starts, lstm)
        n_actions = self.action_space.n  # type: ignore[attr-defined]
        return th.cat([output, features[:, -n_actions:]], dim=1), states


def check_masks_are_raw(policy_class: type[BasePolicy], vec_env: VecEnv | None) -> None:
    """
    :param policy_class: Policy
    :param vec_env: Environments it is to act in, or None
    :raises ValueError: If the policy reads a mask from observations that ``VecNormalize`` changes
    """
    if not issubclass(policy_class, ObservationMaskMixin):
        return
    while isinstance(vec_env, VecEnvWrapper):
        if isinstance(vec_env, VecNormalize) and vec_env.norm_obs:
            raise ValueError(
                f"VecNormalize: got norm_obs=True around the environments of a {policy_class.__name__}, which reads the mask "
                "of valid actions from the observation; expected norm_obs=False (rewards may be normalised)"
            )
        vec_env = vec_env.venv
