"""An actor-critic policy that knows which group it acts for."""

import copy
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize
from torch import nn

from sb3_grpo.group_relative_ppo.group_observation import GROUP_KEY


class GroupConditionedPolicy(ActorCriticPolicy):
    """
    Actor and critic share a trunk that does not see the group; the last layer adds what is particular to it. That part starts
    at zero and moves only with steps of the group. So a group that was never seen in training, and any number that is no group
    (such as -1), gets the shared head alone.

    The group is a number from 0 to G - 1 in the observation, and so it is there in ``predict()`` too: an entry of a flat Box
    or a key of a Dict, as :class:`~sb3_grpo.group_relative_ppo.GroupObservation` puts it there from the info. Its space says
    how many groups there are: a Box with the highest id as upper limit, or, in a Dict, Discrete(G). The number must reach the
    policy as it is: ``VecNormalize`` must not normalise it.

    Parameters not named here are those of SB3's ``ActorCriticPolicy``.

    :param observation_space: Observation space, a flat Box or a Dict
    :param action_space: Action space
    :param lr_schedule: Learning rate schedule
    :param group_head: ``"branch"``: each group has its own output layer on the trunk, added to the shared one; ``"bias"``: its
        own constants only
    :param group_index: Entry of a flat Box that holds the group; negative: from the end
    :param group_key: Key of a Dict that holds the group
    :param use_sde: Not available
    :param features_extractor_class: Features extractor of the trunk, for which the group is 0. None: ``FlattenExtractor``, or
        ``CombinedExtractor`` for a Dict
    :raises ValueError: If an argument is out of range, or the observation space does not say where the group is and how many
        there are
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *args: Any,
        group_head: str = "branch",
        group_index: int = -1,
        group_key: str = GROUP_KEY,
        use_sde: bool = False,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        **kwargs: Any,
    ):
        if group_head not in ("bias", "branch"):
            raise ValueError(f"`group_head` must be 'branch' or 'bias', got {group_head!r}")
        if use_sde:
            raise ValueError("`use_sde` must be False for a group-conditioned policy, got True")
        self.group_head, self.group_index, self.group_key = group_head, group_index, group_key
        #: Number of groups that the policy tells apart, G
        self.n_conditions = _n_groups(observation_space, group_index, group_key)
        if features_extractor_class is None:
            features_extractor_class = CombinedExtractor if isinstance(observation_space, spaces.Dict) else FlattenExtractor
        kwargs["features_extractor_class"] = features_extractor_class
        super().__init__(observation_space, action_space, lr_schedule, *args, **kwargs)

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        """See the parent. What it makes hands the group on behind the features, so that every call of SB3's policy has it."""
        extractor = super().make_features_extractor()
        if not isinstance(self.observation_space, spaces.Dict):
            return _GroupPassingFeatures(extractor, self.group_index, self.n_conditions, False)
        discrete = isinstance(self.observation_space[self.group_key], spaces.Discrete)
        return _GroupPassingFeatures(extractor, self.group_key, self.n_conditions, discrete)

    def _build_mlp_extractor(self) -> None:
        trunk = MlpExtractor(
            self.features_dim - self.n_conditions,
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            device=self.device,
        )
        self.mlp_extractor: Any = _GroupPassingTrunk(trunk, self.n_conditions)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        n_latent = self.mlp_extractor.latent_dim_pi if self.group_head == "branch" else 0
        self.action_net: Any = _GroupHead(self.action_net, self.n_conditions, n_latent)
        with th.no_grad():
            self.value_net.weight[:, -self.n_conditions :] = 0.0
        # The optimizer must know the new layers
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def distributions_by_group(self, obs: PyTorchObs) -> list[Distribution]:
        """
        What the policy would do for each group in the same situations, whatever group the observations hold.

        :param obs: Observations, n of them
        :return: Distribution of actions for each of the G groups
        """
        features = BasePolicy.extract_features(self, obs, self.pi_features_extractor)
        latent = self.mlp_extractor.forward_actor(features)[:, : -self.n_conditions]
        groups = th.eye(self.n_conditions, device=latent.device)
        kept = self.action_dist
        distributions = []
        for group in groups:
            self.action_dist = copy.copy(kept)  # each call fills the policy's own
            distributions.append(self._get_action_dist_from_latent(th.cat([latent, group.expand(len(latent), -1)], dim=1)))
        self.action_dist = kept
        return distributions

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = dict(group_head=self.group_head, group_index=self.group_index, group_key=self.group_key)
        return {**super()._get_constructor_parameters(), **own}


class _GroupPassingFeatures(BaseFeaturesExtractor):
    """
    Features without the group, and behind them which group it is: one of G entries is 1; none where it is no known group.

    :param extractor: Makes the features
    :param source: Entry of a flat observation, or key of a Dict, that holds the group
    :param n_groups: Number of groups, G
    :param is_indicator: Whether SB3 has made G entries of the group already, as it does of Discrete spaces
    """

    def __init__(self, extractor: BaseFeaturesExtractor, source: int | str, n_groups: int, is_indicator: bool):
        super().__init__(extractor._observation_space, extractor.features_dim + n_groups)
        self.extractor = extractor
        self.source = source
        self.n_groups = n_groups
        self.is_indicator = is_indicator

    def forward(self, observations: Any) -> th.Tensor:
        if isinstance(observations, dict):
            held = observations[self.source].flatten(1)
            hidden: Any = {**observations, self.source: th.zeros_like(observations[self.source])}
        else:
            held = observations[:, self.source, None]
            hidden = observations.clone()
            hidden[:, self.source] = 0.0
        indicator = held if self.is_indicator else held == th.arange(self.n_groups, device=held.device)
        return th.cat([self.extractor(hidden), indicator.float()], dim=1)


class _GroupPassingTrunk(nn.Module):
    """
    Networks that do not see the group, and hand it on behind their latent codes.

    :param trunk: The networks
    :param n_groups: Number of groups
    """

    def __init__(self, trunk: MlpExtractor, n_groups: int):
        super().__init__()
        self.trunk = trunk
        self.n_groups = n_groups
        self.latent_dim_pi = trunk.latent_dim_pi  # what the shared head gets
        self.latent_dim_vf = trunk.latent_dim_vf + n_groups

    def forward(self, features: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: th.Tensor) -> th.Tensor:
        latent = self.trunk.forward_actor(features[:, : -self.n_groups])
        return th.cat([latent, features[:, -self.n_groups :]], dim=1)

    def forward_critic(self, features: th.Tensor) -> th.Tensor:
        latent = self.trunk.forward_critic(features[:, : -self.n_groups])
        return th.cat([latent, features[:, -self.n_groups :]], dim=1)


class _GroupHead(nn.Module):
    """
    The shared output layer plus what is particular to the group.

    :param shared: The shared layer
    :param n_groups: Number of groups
    :param n_latent: Number of inputs of each group's own layer; 0: it has constants only
    """

    def __init__(self, shared: nn.Linear, n_groups: int, n_latent: int):
        super().__init__()
        self.shared = shared
        self.n_groups = n_groups
        self.biases = nn.Parameter(th.zeros(n_groups, shared.out_features, device=shared.weight.device))
        branches = th.zeros(n_groups, shared.out_features, n_latent, device=shared.weight.device)
        self.branches = nn.Parameter(branches) if n_latent else None

    def forward(self, inputs: th.Tensor) -> th.Tensor:
        latent, group = inputs[:, : -self.n_groups], inputs[:, -self.n_groups :]
        outputs = self.shared(latent) + group @ self.biases
        if self.branches is None:
            return outputs
        return outputs + th.einsum("ng,goi,ni->no", group, self.branches, latent)


def _n_groups(space: spaces.Space[Any], index: int, key: str) -> int:
    """
    :raises ValueError: If the space does not say where the group is and how many there are
    """
    if isinstance(space, spaces.Dict):
        if key not in space.spaces:
            raise ValueError(
                f"`group_key` must be a key of the Dict observation, {sorted(space.spaces)}, got {key!r}: wrap the "
                "environment in GroupObservation, or name the key that holds the group"
            )
        held = space.spaces[key]
        if isinstance(held, spaces.Discrete) and held.start == 0:
            return int(held.n)
        where, limit = (
            f"the key {key!r}",
            held.high.ravel()[0] if isinstance(held, spaces.Box) and held.shape == (1,) else None,
        )
    elif isinstance(space, spaces.Box) and len(space.shape) == 1:
        if isinstance(index, bool) or not isinstance(index, int) or not -space.shape[0] <= index < space.shape[0]:
            raise ValueError(f"`group_index` must be an entry of the {space.shape[0]} of the observation, got {index!r}")
        where, limit = f"the entry {index}", space.high[index]
    else:
        raise ValueError(
            f"observation_space: got {space}, expected a flat Box or a Dict holding the group, as GroupObservation makes them"
        )
    if limit is None or not np.isfinite(limit) or limit < 0 or limit != round(float(limit)):
        raise ValueError(
            f"The observation must hold the group as a number whose upper limit is the highest group id, but {where} of "
            f"{space} is something else: wrap the environment in GroupObservation"
        )
    return int(limit) + 1


def check_group_is_raw(policy: type[BasePolicy], policy_kwargs: dict[str, Any], vec_env: VecEnv | None) -> None:
    """
    :param policy: Class of the policy
    :param policy_kwargs: Its arguments
    :param vec_env: Environments it is to act in, or None
    :raises ValueError: If the policy reads the group from an observation that ``VecNormalize`` changes
    """
    if not issubclass(policy, GroupConditionedPolicy):
        return
    key = policy_kwargs.get("group_key", GROUP_KEY)
    while isinstance(vec_env, VecEnvWrapper):
        if isinstance(vec_env, VecNormalize) and vec_env.norm_obs:
            keys = vec_env.norm_obs_keys if isinstance(vec_env.observation_space, spaces.Dict) else [key]
            if key in (keys or []):
                raise ValueError(
                    f"VecNormalize: got norm_obs=True around the environments of a {policy.__name__}, which reads the group "
                    f"from the observation; expected norm_obs=False, or for a Dict norm_obs_keys without {key!r}"
                )
        vec_env = vec_env.venv
