"""Rollout buffers that keep what each step meant for each group."""

from typing import Any

import numpy as np
import torch as th
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableRolloutBuffer
from sb3_contrib.common.recurrent.buffers import RecurrentDictRolloutBuffer, RecurrentRolloutBuffer
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer

from sb3_grpo.common.data_parallel import mean_and_deviation, moments, n_processes, total
from sb3_grpo.common.group_advantages import combine_advantages, group_gae
from sb3_grpo.common.group_infos import GroupStep
from sb3_grpo.common.mixins import with_mixin


class GroupBufferMixin(RolloutBuffer):
    """
    Adds groups to a rollout buffer. Goes before the buffer in the list of base classes; made with :func:`group_buffer`.

    Without group critic and without discount on elapsed time, returns and advantages are those of the buffer itself. The
    buffer must make its minibatches in ``_get_samples()``, as those of SB3 and sb3-contrib do.
    T is the number of steps, N of environments, G of groups.
    """

    #: Number of outputs of the group critic; 0: scalar critic
    n_values: int = 0
    #: Whether each step has its own discount
    elapsed_discount: bool = False
    _numbers_only: bool = False

    group_ids: np.ndarray  # (T, N) int64, -1: none
    dones: np.ndarray  # (T, N) bool
    raw_rewards: np.ndarray  # (T, N): before VecNormalize and before any bootstrap
    reward_factors: np.ndarray  # (T, N): by which VecNormalize scaled them
    discounts: np.ndarray  # (T, N)
    group_rewards: np.ndarray | None  # (T, N, G), raw, if the environments split rewards
    group_exposure: np.ndarray | None  # (T, N, G), or (T, N) of the step's own group, if the environments tell
    group_values: np.ndarray  # (T, N, G), group critic only
    group_advantages: np.ndarray  # (T, N, G), group critic only
    bootstraps: np.ndarray  # (T, N, G or 1): discounted value of what follows a time limit
    normalize_samples: bool  # whether to standardise the advantages of a minibatch
    sample_weights: np.ndarray | None  # (N * T,): what they are multiplied by then

    def reset(self) -> None:
        super().reset()
        shape = (self.buffer_size, self.n_envs)
        self.group_ids = np.full(shape, -1, dtype=np.int64)
        self.dones = np.zeros(shape, dtype=bool)
        self.raw_rewards = np.zeros(shape, dtype=np.float32)
        self.reward_factors = np.ones(shape, dtype=np.float32)
        self.discounts = np.full(shape, self.gamma, dtype=np.float32)
        self.group_rewards = None
        self.group_exposure = None
        self._staged_rewards = np.zeros(self.buffer_size, dtype=bool)
        self._staged_exposure = np.zeros(self.buffer_size, dtype=bool)
        self.group_values = np.zeros((*shape, self.n_values), dtype=np.float32)
        self.bootstraps = np.zeros((*shape, max(self.n_values, 1)), dtype=np.float32)
        self.sample_weights = None
        self.normalize_samples = False

    def stage(self, step: GroupStep, dones: np.ndarray, rewards: np.ndarray) -> None:
        """
        Keep what a step meant for the groups. Comes before ``add()`` of the same step.

        :param step: The step's group arrays
        :param dones: Whether the step ended an episode, (N,)
        :param rewards: Rewards before VecNormalize, (N,)
        """
        self.dones[self.pos] = dones
        self.raw_rewards[self.pos] = rewards
        if step.ids is not None:
            self.group_ids[self.pos] = step.ids
        if step.rewards is not None:
            if self.group_rewards is None:
                self.group_rewards = np.zeros((self.buffer_size, *step.rewards.shape), dtype=np.float32)
            self.group_rewards[self.pos] = step.rewards
            self._staged_rewards[self.pos] = True
        if step.exposure is not None:
            if self.group_exposure is None:
                self.group_exposure = np.zeros((self.buffer_size, *step.exposure.shape), dtype=np.float32)
            self.group_exposure[self.pos] = step.exposure
            self._staged_exposure[self.pos] = True

    def add(
        self,
        obs: Any,
        action: np.ndarray,
        reward: np.ndarray,
        episode_start: np.ndarray,
        value: th.Tensor,
        log_prob: th.Tensor,
        **kwargs: Any,
    ) -> None:
        if self.n_values:
            self.group_values[self.pos] = value.cpu().numpy().reshape(self.n_envs, self.n_values)
            value = value.sum(dim=1)
        super().add(obs, action, reward, episode_start, value, log_prob, **kwargs)

    def split_rewards(self, n_groups: int) -> np.ndarray:
        """
        :param n_groups: Number of groups
        :return: Raw rewards by group, (T, N, G). Where the environment does not split them, a reward goes to the group of its
            step. A reward that concerns no group is divided in proportion to the rollout's exposure, which adds the same to
            every group's performance
        """
        if self.group_rewards is not None and self._staged_rewards.all():
            return self.group_rewards
        exposure = self.split_exposure(n_groups).sum(axis=(0, 1))
        shares = exposure / exposure.sum() if exposure.any() else np.full(n_groups, 1.0 / n_groups)
        table = np.vstack([np.eye(n_groups), shares]).astype(np.float32)  # id -1 indexes the last row
        rewards = self.raw_rewards[..., None] * table[self.group_ids]
        if self.group_rewards is not None:
            rewards[self._staged_rewards] = self.group_rewards[self._staged_rewards]
        return rewards

    def split_exposure(self, n_groups: int) -> np.ndarray:
        """
        :param n_groups: Number of groups
        :return: Exposure of each group, (T, N, G). Where the environment does not tell, each step exposes its own group to 1
        """
        if self.group_exposure is not None and self.group_exposure.ndim == 3 and self._staged_exposure.all():
            return self.group_exposure
        table = np.vstack([np.eye(n_groups), np.zeros(n_groups)]).astype(np.float32)
        exposure = table[self.group_ids]
        if self.group_exposure is not None:
            staged = self._staged_exposure
            told = self.group_exposure[staged]
            exposure[staged] = told if told.ndim == 3 else exposure[staged] * told[..., None]
        return exposure

    def replace_groups(self, ids: np.ndarray, rewards: np.ndarray, exposure: np.ndarray) -> None:
        """
        Let the steps of a complete rollout count for other groups than the environments told. Advantages stay as they are.

        :param ids: Group of each step, (T, N), -1 for none
        :param rewards: Raw reward that counts towards the performance of the step's own group, (T, N)
        :param exposure: Exposure of the step's own group, (T, N)
        """
        self.group_ids = ids.astype(np.int64)
        self.raw_rewards, self.group_exposure = rewards.astype(np.float32), exposure.astype(np.float32)
        self.group_rewards = None
        self._staged_exposure[:] = True

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: np.ndarray) -> None:
        if not self.n_values and not self.elapsed_discount:
            return super().compute_returns_and_advantage(last_values, dones)
        if self.n_values:
            rewards = self.split_rewards(self.n_values) * self.reward_factors[..., None]
            values = self.group_values
        else:
            rewards, values = self.rewards[..., None], self.values[..., None]
        advantages, returns = group_gae(
            rewards + self.bootstraps,
            values,
            last_values.cpu().numpy().reshape(self.n_envs, -1),
            self.episode_starts,
            dones,
            self.discounts,
            self.gae_lambda,
        )
        if self.n_values:
            # SB3's train() flattens values and returns: its value loss becomes the mean over groups
            self.group_advantages, self.values, self.returns = advantages, values, returns
            self.advantages = advantages.sum(axis=-1)
        else:
            self.advantages, self.returns = advantages[..., 0], returns[..., 0]

    def combine_groups(self, weights: np.ndarray) -> None:
        """
        Replace the advantages by the weighted sum of the groups' advantages (group critic only).

        :param weights: Weight of each group, (G,)
        """
        self.set_advantages(combine_advantages(self.group_advantages, weights))

    def set_advantages(self, advantages: np.ndarray) -> None:
        """
        :param advantages: The advantages to train with, (T, N)
        """
        self.advantages = self.swap_and_flatten(advantages) if self.generator_ready else advantages

    def by_step(self, values: np.ndarray) -> np.ndarray:
        """
        :param values: A column of the buffer with one number for each step, such as ``advantages``
        :return: The same, (T, N), also where somebody has drawn a minibatch, which joins the axes of steps and environments
        """
        shape = (self.buffer_size, self.n_envs)
        return values if values.shape == shape and not self.generator_ready else values.reshape(shape[::-1]).T

    def weight_samples(self, weights: np.ndarray | None, normalize: bool = False) -> None:
        """
        Standardise the advantages of each minibatch, if wanted, and then multiply them by weights, until the next rollout.

        SB3 standardises in ``train()``, which would be after the weights, and would give samples of weight zero a gradient.
        A minibatch of one sample is not standardised: its deviation is not a number.

        :param weights: Weight of each sample, (T, N); None: all weigh 1
        :param normalize: Whether to standardise, as SB3 would
        """
        self.sample_weights = None if weights is None else self.swap_and_flatten(weights.astype(np.float32)).flatten()
        self.normalize_samples = normalize

    def draw_epoch(self) -> np.ndarray:
        """
        :return: Numbers of all steps in the order in which ``get()`` would use them in its next pass, (N * T,)
        """
        self._numbers_only = True
        try:
            return np.concatenate(list(self.get()))
        finally:
            self._numbers_only = False

    def _get_samples(self, batch_inds: np.ndarray, *args: Any, **kwargs: Any) -> Any:
        if self._numbers_only:
            return batch_inds
        samples: Any = super()._get_samples(batch_inds, *args, **kwargs)
        # Recurrent buffers pad sequences to one length and say what is padding, once for each value
        n_values = max(self.n_values, 1)
        padded = hasattr(samples, "mask")
        valid = samples.mask.reshape(-1, n_values)[:, 0] > 1e-8 if padded else None
        advantages = samples.advantages
        if self.normalize_samples:
            advantages = standardise(advantages, valid)
        if self.sample_weights is not None:
            weights = self.sample_weights[batch_inds]
            # The recurrent buffer has just made this function, for the sequences of this minibatch
            advantages = advantages * (self.pad_and_flatten(weights) if padded else self.to_torch(weights))  # type: ignore[attr-defined]
        if not padded or n_values == 1:
            return samples._replace(advantages=advantages)
        # RecurrentPPO has one mask for everything. The policy repeats likewise, see RecurrentGroupCriticMixin
        old_log_prob = samples.old_log_prob.repeat_interleave(n_values)
        return samples._replace(advantages=advantages.repeat_interleave(n_values), old_log_prob=old_log_prob)


def standardise(advantages: th.Tensor, valid: th.Tensor | None) -> th.Tensor:
    """
    :param advantages: Advantages of a minibatch, (n,); of this process, if there are several
    :param valid: Which of them are not padding, (n,) bool; None: all
    :return: The same minus their mean, divided by their deviation, to the last bit as SB3 computes it; one alone as it is
    """
    known = advantages if valid is None else advantages[valid]
    if n_processes() > 1:
        mean, deviation = mean_and_deviation(total(moments(known)))
        return (advantages - mean.float()) / (deviation.float() + 1e-8)
    return (advantages - known.mean()) / (known.std() + 1e-8) if len(known) > 1 else advantages


def standardise_minibatches(advantages: th.Tensor, batch_size: int) -> th.Tensor:
    """
    The same for all minibatches of an epoch, of which the processes then need to speak only once.

    :param advantages: Advantages in the order in which they are used, (n,)
    :param batch_size: Number of samples of each minibatch but the last, in this process
    :return: Each minibatch standardised
    """
    parts = list(advantages.split(batch_size))
    sums = total(th.stack([moments(part) for part in parts]))
    for place, part in enumerate(parts):
        if len(part) * n_processes() > 1:
            mean, deviation = mean_and_deviation(sums[place])
            parts[place] = (part - mean.float()) / (deviation.float() + 1e-8)
    return th.cat(parts)


class GroupRolloutBuffer(GroupBufferMixin, RolloutBuffer):
    """``RolloutBuffer`` with groups, see :class:`GroupBufferMixin`."""


class GroupDictRolloutBuffer(GroupBufferMixin, DictRolloutBuffer):
    """``DictRolloutBuffer`` with groups, see :class:`GroupBufferMixin`."""


class GroupMaskableRolloutBuffer(GroupBufferMixin, MaskableRolloutBuffer):  # type: ignore[misc]
    """``MaskableRolloutBuffer`` of sb3-contrib with groups, see :class:`GroupBufferMixin`."""


class GroupMaskableDictRolloutBuffer(GroupBufferMixin, MaskableDictRolloutBuffer):  # type: ignore[misc]
    """``MaskableDictRolloutBuffer`` of sb3-contrib with groups, see :class:`GroupBufferMixin`."""


class GroupRecurrentRolloutBuffer(GroupBufferMixin, RecurrentRolloutBuffer):  # type: ignore[misc]
    """``RecurrentRolloutBuffer`` of sb3-contrib with groups, see :class:`GroupBufferMixin`."""


class GroupRecurrentDictRolloutBuffer(GroupBufferMixin, RecurrentDictRolloutBuffer):  # type: ignore[misc]
    """``RecurrentDictRolloutBuffer`` of sb3-contrib with groups, see :class:`GroupBufferMixin`."""


_NAMED = (
    GroupRolloutBuffer,
    GroupDictRolloutBuffer,
    GroupMaskableRolloutBuffer,
    GroupMaskableDictRolloutBuffer,
    GroupRecurrentRolloutBuffer,
    GroupRecurrentDictRolloutBuffer,
)


def group_buffer(buffer: RolloutBuffer, n_values: int, elapsed_discount: bool) -> GroupBufferMixin:
    """
    Turn an empty buffer into one with groups. The instance is converted, not the class replaced before it is built: so every
    algorithm's own choice of buffer, and a user's, is kept, and saved models name no class of this package.

    :param buffer: The buffer
    :param n_values: Number of outputs of the group critic; 0: scalar critic
    :param elapsed_discount: Whether each step has its own discount
    :return: A buffer of the same settings
    """
    buffer_class = with_mixin(GroupBufferMixin, type(buffer), _NAMED)
    converted = buffer_class.__new__(buffer_class)
    converted.__dict__.update(buffer.__dict__)
    converted.n_values = n_values
    converted.elapsed_discount = elapsed_discount
    converted.reset()
    return converted
