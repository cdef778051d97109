"""PPO's update without a graph: the gradient of the loss in closed form, written into one array for all parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np
import torch as th
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import FloatSchedule, explained_variance

from sb3_grpo.common.data_parallel import n_processes, total
from sb3_grpo.common.group_buffers import (
    GroupBufferMixin,
    GroupMaskableRolloutBuffer,
    GroupRolloutBuffer,
    standardise_minibatches,
)
from sb3_grpo.common.lean_networks import LeanPolicy, lean_policy
from sb3_grpo.common.loop_savings import (
    check_finite,
    distributions_unchecked,
    fused_adam,
    optimizer_step,
    parameters_listed,
)
from sb3_grpo.common.masked_policies import INVALID_LOGIT
from sb3_grpo.common.schedules import is_always_zero

#: What is logged of every minibatch, in this order
TERMS: Final = ("policy_gradient_loss", "value_loss", "entropy_loss", "clip_fraction", "approx_kl", "loss")
_KL: Final = TERMS.index("approx_kl")


class LossSettings(NamedTuple):
    """
    See PPO.

    :param clip_range: Clipping of the probability ratio
    :param clip_range_vf: Clipping of the values; None: none
    :param ent_coef: Coefficient of the entropy
    :param vf_coef: Coefficient of the value loss
    """

    clip_range: float
    clip_range_vf: float | None
    ent_coef: float
    vf_coef: float


class Samples(NamedTuple):
    """
    Steps of a rollout, on the device where they are needed.

    :param inputs: Inputs of the networks, (n, d)
    :param actions: Actions, (n,) int64
    :param invalid: Which actions were invalid, (n, A) bool; None if nobody says
    :param log_probs: Log probabilities of the actions when they were drawn, (n,)
    :param values: Values at that time, (n, K), with K = 1 or the number of groups; None if the value loss is not clipped
    :param returns: Targets of the values, (n, K)
    :param advantages: Advantages, (n,)
    """

    inputs: th.Tensor
    actions: th.Tensor
    invalid: th.Tensor | None
    log_probs: th.Tensor
    values: th.Tensor | None
    returns: th.Tensor
    advantages: th.Tensor

    def at(self, indices: th.Tensor | slice) -> "Samples":
        """Some of the samples, or all in another order."""
        parts: Any = (None if column is None else column[indices] for column in self)
        return Samples(*parts)

    def minibatches(self, size: int) -> Iterator["Samples"]:
        """The samples in their order, ``size`` at a time."""
        return (self.at(slice(start, start + size)) for start in range(0, len(self.inputs), size))


def loss_gradient(
    logits: th.Tensor, values: th.Tensor, batch: Samples, settings: LossSettings
) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """
    Gradient of PPO's loss (https://arxiv.org/abs/1707.06347, and the clipped value loss of SB3) for discrete actions.

    With ratio r of the new to the old probability of the action a, the clipped loss is -mean(min(A r, A clip(r))). Where the
    minimum is A r, its derivative with respect to log p(a) is A r, elsewhere it is 0. The derivative of log p(a) with respect
    to the logits is onehot(a) - p; that of the entropy H is -p (log p + H).

    :param logits: Logits of the actions, (n, A), those of invalid actions out of reach
    :param values: Values, (n, K)
    :param batch: The minibatch, with advantages standardised and weighted
    :param settings: Coefficients
    :return: Gradient with respect to logits and values, of the same shapes; the :data:`TERMS` of the loss, (6,)
    """
    n_samples, actions = len(logits), batch.actions[:, None]
    log_p = th.log_softmax(logits, dim=1)
    p = log_p.exp()
    log_ratio = log_p.gather(1, actions).squeeze(1) - batch.log_probs
    ratio = log_ratio.exp()
    gain = batch.advantages * ratio
    clipped_gain = batch.advantages * ratio.clamp(1 - settings.clip_range, 1 + settings.clip_range)
    entropy = -(p * log_p).sum(1, keepdim=True)

    per_log_prob = th.where(gain <= clipped_gain, gain, 0.0)[:, None] / -n_samples
    of_logits = p * ((log_p + entropy) * (settings.ent_coef / n_samples) - per_log_prob)
    of_logits.scatter_add_(1, actions, per_log_prob)
    if batch.invalid is not None:
        of_logits.masked_fill_(batch.invalid, 0.0)

    error = values - batch.returns
    if settings.clip_range_vf is None or batch.values is None:
        of_values = error
    else:
        moved = values - batch.values
        clipped = moved.clamp(-settings.clip_range_vf, settings.clip_range_vf)
        error = batch.values + clipped - batch.returns
        of_values = th.where(moved == clipped, error, 0.0)

    policy_loss, value_loss = -th.minimum(gain, clipped_gain).mean(), error.square().mean()
    entropy_loss = -entropy.mean()
    clip_fraction = ((ratio - 1).abs() > settings.clip_range).float().mean()
    loss = policy_loss + settings.ent_coef * entropy_loss + settings.vf_coef * value_loss
    terms = th.stack([policy_loss, value_loss, entropy_loss, clip_fraction, (ratio - 1 - log_ratio).mean(), loss])
    return of_logits, of_values * (2 * settings.vf_coef / error.numel()), terms


class FlatGradient:
    """
    One array that holds the gradient of every parameter, so that its norm, its clipping and its sum over processes are each
    one operation. Behind them stand the :data:`TERMS`.

    :param parameters: The parameters; their ``grad`` becomes a part of the array
    """

    def __init__(self, parameters: list[th.nn.Parameter]):
        sizes = [parameter.numel() for parameter in parameters]
        self.array = th.zeros(sum(sizes) + len(TERMS), device=parameters[0].device)
        self.gradient, self.terms = self.array[: sum(sizes)], self.array[sum(sizes) :]
        for parameter, part in zip(parameters, self.gradient.split(sizes), strict=True):
            parameter.grad = part.view_as(parameter)

    def average(self) -> None:
        """Over all processes that train together."""
        if n_processes() > 1:
            total(self.array).div_(n_processes())

    def clip(self, max_norm: float) -> None:
        """As ``clip_grad_norm_()`` does, for all parameters together."""
        self.gradient.mul_((max_norm / (th.linalg.vector_norm(self.gradient) + 1e-6)).clamp(max=1.0))


def fast_update(model: Any, lean: LeanPolicy) -> None:
    """
    What ``train()`` of SB3's PPO and sb3-contrib's MaskablePPO does with a complete rollout, and what it logs. The rollout is
    moved to the device once, permutations of its steps come from the same random numbers, and nothing is read back before the
    end, unless ``target_kl`` has to be compared with something.

    :param model: The algorithm; its buffer knows whether to standardise advantages, and the weights of samples
    :param lean: The networks of its policy
    """
    policy, buffer = model.policy, model.rollout_buffer
    policy.set_training_mode(True)
    model._update_learning_rate(policy.optimizer)
    progress = model._current_progress_remaining
    clip_range_vf = None if model.clip_range_vf is None else model.clip_range_vf(progress)
    settings = LossSettings(model.clip_range(progress), clip_range_vf, model.ent_coef, model.vf_coef)
    samples = _samples(buffer, lean, clip_values=settings.clip_range_vf is not None)
    flat = FlatGradient(list(policy.parameters()))
    step = optimizer_step(policy.optimizer)
    logged: list[list[th.Tensor]] = []  # of every epoch, the terms of its minibatches
    stopped = False
    while len(logged) < model.n_epochs and not stopped:
        logged.append([])
        for batch in _epoch(buffer, samples, model.batch_size).minibatches(model.batch_size):
            with th.inference_mode():
                _write_gradient(lean, batch, settings, flat)
                flat.average()
                logged[-1].append(flat.terms.clone())
                stopped = model.target_kl is not None and flat.terms[_KL].item() > 1.5 * model.target_kl
                if stopped:
                    model.logger.info(f"Early stopping at step {len(logged) - 1}: max kl {flat.terms[_KL].item():.2f}")
                    break
                flat.clip(model.max_grad_norm)
            step()
        model._n_updates += 1
    _log(model, settings, logged)


def _samples(buffer: GroupBufferMixin, lean: LeanPolicy, clip_values: bool) -> Samples:
    def column(array: np.ndarray) -> th.Tensor:
        flat = array if buffer.generator_ready else buffer.swap_and_flatten(array)
        return th.as_tensor(flat, device=buffer.device)

    inputs = lean.inputs(column(buffer.observations))
    return Samples(
        inputs=inputs,
        actions=column(buffer.actions).long().flatten(),
        invalid=lean.invalid(inputs, column(buffer.action_masks) if hasattr(buffer, "action_masks") else None),
        log_probs=column(buffer.log_probs).flatten(),
        values=column(buffer.values) if clip_values else None,
        returns=column(buffer.returns),
        advantages=column(buffer.advantages).flatten(),
    )


def _epoch(buffer: GroupBufferMixin, samples: Samples, batch_size: int) -> Samples:
    """The samples in the order in which the next epoch uses them, their advantages standardised and weighted."""
    order = th.as_tensor(buffer.draw_epoch(), device=samples.inputs.device)
    epoch = samples.at(order)
    advantages = epoch.advantages
    if buffer.normalize_samples:
        advantages = standardise_minibatches(advantages, batch_size)
    if buffer.sample_weights is not None:
        advantages = advantages * th.as_tensor(buffer.sample_weights, device=advantages.device)[order]
    return epoch._replace(advantages=advantages)


def _write_gradient(lean: LeanPolicy, batch: Samples, settings: LossSettings, flat: FlatGradient) -> None:
    """Gradient of a minibatch, and the terms of its loss."""
    logits, actor_inputs = lean.actor.forward(batch.inputs)
    values, critic_inputs = lean.critic.forward(batch.inputs)
    if batch.invalid is not None:
        logits.masked_fill_(batch.invalid, INVALID_LOGIT)
    of_logits, of_values, terms = loss_gradient(logits, values, batch, settings)
    lean.actor.backward(of_logits, actor_inputs)
    lean.critic.backward(of_values, critic_inputs)
    flat.terms.copy_(terms)


def _log(model: Any, settings: LossSettings, logged: list[list[th.Tensor]]) -> None:
    """What SB3's ``train()`` logs."""
    means = th.stack([terms for epoch in logged for terms in epoch]).double().mean(0).tolist()
    buffer, logger = model.rollout_buffer, model.logger
    values = dict(zip(TERMS, means, strict=True))
    values["approx_kl"] = float(th.stack(logged[-1])[:, _KL].double().mean())
    values["loss"] = float(logged[-1][-1][TERMS.index("loss")])
    values["explained_variance"] = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
    for key, value in values.items():
        logger.record(f"train/{key}", value)
    logger.record("train/n_updates", model._n_updates, exclude="tensorboard")
    logger.record("train/clip_range", settings.clip_range)
    if settings.clip_range_vf is not None:
        logger.record("train/clip_range_vf", settings.clip_range_vf)


@contextmanager
def lean_forward(policy: BasePolicy, lean: LeanPolicy | None) -> Iterator[None]:
    """
    Inside the block the policy acts by :meth:`LeanPolicy.act`.

    :param policy: The policy
    :param lean: Its networks; None: nothing changes
    """
    if lean is None:
        yield
        return
    policy.forward = lean.act
    try:
        yield
    finally:
        del policy.forward


class FastUpdateMixin(OnPolicyAlgorithm):
    """
    Goes before PPO or a relative of it in the list of base classes, and spares it work while it learns.

    At constant ``lam=0`` training stays the parent's bit for bit. Otherwise Adam is fused, and a policy that
    :func:`~sb3_grpo.common.lean_networks.lean_policy` knows acts and is updated without a graph.
    """

    fast: bool
    lam_schedule: FloatSchedule

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """See the parent."""
        with distributions_unchecked(self.fast):
            return super().learn(*args, **kwargs)

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """See the parent."""
        with lean_forward(self.policy, self._lean_policy()):
            return super().collect_rollouts(*args, **kwargs)

    def train(self) -> None:
        """See the parent."""
        if not self.fast:
            return super().train()
        lean = self._lean_policy()
        with parameters_listed(self.policy), fused_adam(self.policy.optimizer, self._promises_bits()):
            if lean is None:
                super().train()
            else:
                fast_update(self, lean)
        check_finite(self.policy)

    def _promises_bits(self) -> bool:
        """Whether training must be the parent's bit for bit."""
        return is_always_zero(self.lam_schedule)

    def _lean_policy(self) -> LeanPolicy | None:
        """The policy's networks, where all that training does with them is known; else None."""
        known = super().train.__func__ in (PPO.train, MaskablePPO.train)  # type: ignore[attr-defined]
        known &= type(self.rollout_buffer) in (GroupRolloutBuffer, GroupMaskableRolloutBuffer)
        wanted = self.fast and not self._promises_bits()
        return lean_policy(self.policy) if wanted and known else None
