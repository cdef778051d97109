"""Actor-critic policies with a group critic: one value per group."""

from typing import Any

import torch as th
from sb3_contrib.common.maskable.policies import (
    MaskableActorCriticCnnPolicy,
    MaskableActorCriticPolicy,
    MaskableMultiInputActorCriticPolicy,
)
from sb3_contrib.common.recurrent.policies import (
    RecurrentActorCriticCnnPolicy,
    RecurrentActorCriticPolicy,
    RecurrentMultiInputActorCriticPolicy,
)
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from sb3_grpo.common.masked_policies import MaskedActorCriticPolicy, MaskedRecurrentActorCriticPolicy
from sb3_grpo.common.mixins import with_mixin


class GroupCriticMixin(BasePolicy):
    """
    Gives an actor-critic policy a value head with one output per group. Goes before the policy in the list of base classes.

    Wherever SB3 returns values of shape (n, 1), this policy returns (n, G); their sum over groups is the value of the state.
    With one group, network and random numbers are those of the policy without the mixin.

    :param n_groups: Number of groups G, at least 1
    """

    def __init__(self, *args: Any, n_groups: int = 1, **kwargs: Any):
        self.n_groups = n_groups
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        if self.n_groups == 1:
            return
        self.value_net = nn.Linear(self.mlp_extractor.latent_dim_vf, self.n_groups)  # type: ignore[union-attr, arg-type]
        if self.ortho_init:
            self.init_weights(self.value_net, gain=1)
        # The optimizer must know the new head
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "n_groups": self.n_groups}


class RecurrentGroupCriticMixin(GroupCriticMixin):
    """
    The same for a recurrent policy.

    ``RecurrentPPO.train()`` leaves out padding with one mask for everything, which here has an entry for each value. So
    ``evaluate_actions()`` says everything about an action once for each value; the means that make up the loss are unchanged.
    """

    def evaluate_actions(self, *args: Any, **kwargs: Any) -> tuple[th.Tensor, th.Tensor, Any]:
        """
        See the parent.

        :return: Values, (n, G); log probability of the actions, and entropy if there is an analytical form, each (n * G,)
        """
        values, log_prob, entropy = super().evaluate_actions(*args, **kwargs)  # type: ignore[misc]
        repeated = None if entropy is None else entropy.repeat_interleave(self.n_groups)
        return values, log_prob.repeat_interleave(self.n_groups), repeated


class GroupActorCriticPolicy(GroupCriticMixin, ActorCriticPolicy):
    """``ActorCriticPolicy`` with a group critic, see :class:`GroupCriticMixin`."""


class GroupActorCriticCnnPolicy(GroupCriticMixin, ActorCriticCnnPolicy):
    """``ActorCriticCnnPolicy`` with a group critic, see :class:`GroupCriticMixin`."""


class GroupMultiInputActorCriticPolicy(GroupCriticMixin, MultiInputActorCriticPolicy):
    """``MultiInputActorCriticPolicy`` with a group critic, see :class:`GroupCriticMixin`."""


class GroupMaskedActorCriticPolicy(GroupCriticMixin, MaskedActorCriticPolicy):
    """``MaskedActorCriticPolicy`` with a group critic, see :class:`GroupCriticMixin`."""


class GroupMaskableActorCriticPolicy(GroupCriticMixin, MaskableActorCriticPolicy):
    """``MaskableActorCriticPolicy`` with a group critic, see :class:`GroupCriticMixin`."""


class GroupMaskableActorCriticCnnPolicy(GroupCriticMixin, MaskableActorCriticCnnPolicy):
    """``MaskableActorCriticCnnPolicy`` with a group critic, see :class:`GroupCriticMixin`."""


class GroupMaskableMultiInputActorCriticPolicy(GroupCriticMixin, MaskableMultiInputActorCriticPolicy):
    """``MaskableMultiInputActorCriticPolicy`` with a group critic, see :class:`GroupCriticMixin`."""


class GroupRecurrentActorCriticPolicy(RecurrentGroupCriticMixin, RecurrentActorCriticPolicy):
    """``RecurrentActorCriticPolicy`` with a group critic, see :class:`RecurrentGroupCriticMixin`."""


class GroupRecurrentActorCriticCnnPolicy(RecurrentGroupCriticMixin, RecurrentActorCriticCnnPolicy):
    """``RecurrentActorCriticCnnPolicy`` with a group critic, see :class:`RecurrentGroupCriticMixin`."""


class GroupRecurrentMultiInputActorCriticPolicy(RecurrentGroupCriticMixin, RecurrentMultiInputActorCriticPolicy):
    """``RecurrentMultiInputActorCriticPolicy`` with a group critic, see :class:`RecurrentGroupCriticMixin`."""


class GroupMaskedRecurrentActorCriticPolicy(RecurrentGroupCriticMixin, MaskedRecurrentActorCriticPolicy):
    """``MaskedRecurrentActorCriticPolicy`` with a group critic, see :class:`RecurrentGroupCriticMixin`."""


_NAMED = (
    GroupActorCriticPolicy,
    GroupActorCriticCnnPolicy,
    GroupMultiInputActorCriticPolicy,
    GroupMaskedActorCriticPolicy,
    GroupMaskableActorCriticPolicy,
    GroupMaskableActorCriticCnnPolicy,
    GroupMaskableMultiInputActorCriticPolicy,
    GroupRecurrentActorCriticPolicy,
    GroupRecurrentActorCriticCnnPolicy,
    GroupRecurrentMultiInputActorCriticPolicy,
    GroupMaskedRecurrentActorCriticPolicy,
)


def group_policy_class(base: type[BasePolicy]) -> type[GroupCriticMixin]:
    """
    :param base: Actor-critic policy
    :return: The same with a group critic
    """
    mixin = RecurrentGroupCriticMixin if issubclass(base, RecurrentActorCriticPolicy) else GroupCriticMixin
    return with_mixin(mixin, base, _NAMED)
