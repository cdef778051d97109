from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from sb3_grpo.common.group_algorithm import GroupRobustMixin
from sb3_grpo.common.latent_groups import LatentGroups
from sb3_grpo.common.objectives import Objective
from sb3_grpo.group_robust_ppo.policies import CnnPolicy, MaskedMlpPolicy, MlpPolicy, MultiInputPolicy

SelfGroupRobustPPO = TypeVar("SelfGroupRobustPPO", bound="GroupRobustPPO")


class GroupRobustPPO(GroupRobustMixin, PPO):
    """
    Group Robust Policy Optimization: PPO that maximises (1 - lam) * average + lam * objective of the groups' performance,
    by default that of the worst group.

    Environments tell about groups in the ``info`` of every step: ``group_id``, and where one decision matters to several
    groups also ``group_rewards`` and ``group_exposure`` (see the documentation of the ``info`` items). For environments that
    do not, there is :class:`~sb3_grpo.common.group_assignment.GroupAssignment`. The rest is PPO of SB3.

    With constant ``lam=0``, ``group_critic=False`` and no discount on elapsed time, training is that of SB3's PPO, bit for
    bit.

    :param policy: The policy model to use (MlpPolicy, CnnPolicy, ...)
    :param env: The environment to learn from (if registered in Gymnasium, can be str)
    :param learning_rate: The learning rate, it can be a function of the current progress remaining (from 1 to 0)
    :param n_steps: The number of steps to run for each environment per update
        (i.e. rollout buffer size is n_steps * n_envs where n_envs is number of environment copies running in parallel)
    :param batch_size: Minibatch size
    :param n_epochs: Number of epoch when optimizing the surrogate loss
    :param gamma: Discount factor per step; not used with ``discount_time``
    :param gae_lambda: Factor for trade-off of bias vs variance for Generalized Advantage Estimator
    :param clip_range: Clipping parameter, it can be a function of the current progress remaining (from 1 to 0).
    :param clip_range_vf: Clipping parameter for the value function, it can be a function of the current progress remaining
        (from 1 to 0). If None is passed (default), no clipping will be done on the value function.
        IMPORTANT: this clipping depends on the reward scaling.
    :param normalize_advantage: Whether to normalize or not the advantage
    :param ent_coef: Entropy coefficient for the loss calculation
    :param vf_coef: Value function coefficient for the loss calculation
    :param max_grad_norm: The maximum value for the gradient clipping
    :param use_sde: Whether to use generalized State Dependent Exploration (gSDE) instead of action noise exploration
    :param sde_sample_freq: Sample a new noise matrix every n steps when using gSDE (-1: only at the beginning of the rollout)
    :param rollout_buffer_class: Rollout buffer class to use. If ``None``, it will be automatically selected.
        Groups are added to it
    :param rollout_buffer_kwargs: Keyword arguments to pass to the rollout buffer on creation
    :param target_kl: Limit the KL divergence between updates. By default, there is no limit on the kl div.
    :param lam: Trade-off in [0, 1] between the average (0: PPO) and the objective (1). A number, a schedule (function of the
        current progress remaining), or a string as in RL Zoo: ``"lin_0.3"`` falls linearly from 0.3 to 0;
        ``"auto"``: the smallest lam under which the targets ``min_benefit`` and ``max_gap`` are met
    :param min_benefit: With ``lam="auto"``: least performance of every group, one number or a dict by name. Performance is
        reward per exposure: in a hospital the benefit rate less the group's share of the cost
    :param max_gap: With ``lam="auto"``: largest distance of a group's performance to the best group's
    :param objective: What the groups' performance is judged by: ``"minimax"`` (the worst group), ``"cvar"`` (the worst-off
        share of the population), ``"softmin"``, ``"gap"`` (raises the worst groups; see its ``level_up_only``), ``"max_loss"``
        (for comparison with published code only), a function z -> c of your own, or an
        :class:`~sb3_grpo.common.objectives.Objective`
    :param objective_kwargs: Parameters of the objective, see its class in :mod:`sb3_grpo.common.objectives`; with
        ``lam="auto"`` those of :class:`~sb3_grpo.common.rate_constraints.RateConstraints`
    :param baseline: Performance at which a group is in no need, one number or a dict by name, so that an inherently hard group
        does not take all weight; for instance what :func:`~sb3_grpo.common.baseline.measured_performance` finds for a
        reference policy. By default that of all groups together
    :param group_names: Names of the groups, in the order of their ids. By default the environment's attribute ``group_names``
    :param group_critic: Whether the critic estimates one value per group, which tells what an action does to *other* groups
        than the one it concerns. By default exactly when the groups are known. Otherwise each sample's advantage is weighted
        by its group, which is exact where an episode belongs to one group and an approximation where groups share a queue
    :param discount_time: Time after which the future counts 1/e, in the unit of ``info["elapsed"]``: discounts by elapsed time
        instead of steps. None (default): the environment's attribute ``discount_time`` if it has one; False: never
    :param smoothing: Share of the newest rollout in the groups' performance, in (0, 1]
    :param shrinkage: A group's performance is drawn to the average as if this many further units (patients, episodes, steps)
        had fared like everybody, so that a rare group's noise does not rule; not with ``lam="auto"``
    :param max_weight: Largest ratio of a group's weight in the objective to its share, at least 1, so that a very rare group
        does not rule the update
    :param latent_groups: Finds groups by itself, as clusters of episodes, where nobody has named any
        (:class:`~sb3_grpo.common.latent_groups.LatentGroups`); samples are then weighted by group
    :param fast: Whether to spare work in training. Constant ``lam=0`` gives the same bits as without; otherwise results differ
        by rounding: Adam is fused, and MlpPolicy and MaskedMlpPolicy with Tanh or ReLU, observations in a Box (no images) and
        Discrete actions act and are updated without a graph. All others are updated by SB3's ``train()``
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used), 2 for
        debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    :raises ValueError: If an argument is out of range, ``group_critic=True`` without known groups, or the environment names
        other groups than ``group_names``; during training if an ``info`` lacks what is needed or contradicts itself
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
        "MaskedMlpPolicy": MaskedMlpPolicy,
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        n_steps: int = 2048,
        batch_size: int = 64,
        n_epochs: int = 10,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: float | Schedule = 0.2,
        clip_range_vf: float | Schedule | None = None,
        normalize_advantage: bool = True,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        rollout_buffer_class: type[RolloutBuffer] | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        target_kl: float | None = None,
        lam: float | str | Schedule = 0.3,
        min_benefit: float | Mapping[str, float] | None = None,
        max_gap: float | None = None,
        objective: str | Objective | Callable[[np.ndarray], Any] = "minimax",
        objective_kwargs: dict[str, Any] | None = None,
        baseline: float | Mapping[str, float] | None = None,
        group_names: Sequence[str] | None = None,
        group_critic: bool | None = None,
        discount_time: float | bool | None = None,
        smoothing: float = 0.1,
        shrinkage: float = 20.0,
        max_weight: float = 10.0,
        latent_groups: LatentGroups | None = None,
        fast: bool = True,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ):
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            batch_size=batch_size,
            n_epochs=n_epochs,
            gamma=gamma,
            gae_lambda=gae_lambda,
            clip_range=clip_range,
            clip_range_vf=clip_range_vf,
            normalize_advantage=normalize_advantage,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            rollout_buffer_class=rollout_buffer_class,
            rollout_buffer_kwargs=rollout_buffer_kwargs,
            target_kl=target_kl,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self._init_groups(
            lam=lam,
            min_benefit=min_benefit,
            max_gap=max_gap,
            objective=objective,
            objective_kwargs=objective_kwargs,
            baseline=baseline,
            group_names=group_names,
            group_critic=group_critic,
            discount_time=discount_time,
            smoothing=smoothing,
            shrinkage=shrinkage,
            max_weight=max_weight,
            latent_groups=latent_groups,
            fast=fast,
        )
        if _init_setup_model:
            self._setup_model()

    def learn(
        self: SelfGroupRobustPPO,
        total_timesteps: int = 100_000,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "GroupRobustPPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfGroupRobustPPO:
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )
