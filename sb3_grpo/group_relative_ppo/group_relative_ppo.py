from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from sb3_grpo.group_relative_ppo.group_conditioned_policy import GroupConditionedPolicy
from sb3_grpo.group_relative_ppo.policies import CnnPolicy, MaskedMlpPolicy, MlpPolicy, MultiInputPolicy
from sb3_grpo.group_relative_ppo.relative_algorithm import GroupRelativeMixin

SelfGroupRelativePPO = TypeVar("SelfGroupRelativePPO", bound="GroupRelativePPO")


class GroupRelativePPO(GroupRelativeMixin, PPO):
    """
    Group-relative PPO for personalised decisions (after https://arxiv.org/abs/2504.18631): the advantage of a step is
    alpha_1 A_i + alpha_2 A_g - alpha_3 \\|A_i - A_g\\|^beta, with the advantage A_i of the individual and A_g of its group.

    Environments tell the group in the ``info`` of every step (``group_id``); for those that do not, there is
    :class:`~sb3_grpo.common.group_assignment.GroupAssignment`. Policies may know the group they act for
    (:class:`~sb3_grpo.group_relative_ppo.GroupConditionedPolicy`) and be kept alike across groups. The rest is PPO of SB3.

    With ``alpha_1=1``, ``alpha_2=alpha_3=0``, no ``group_kl``, another ``group_advantage`` than ``"critic"`` and no discount
    on elapsed time, training is that of SB3's PPO, bit for bit.

    :param policy: The policy model to use (MlpPolicy, GroupConditionedPolicy, ...)
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
    :param alpha_1: Weight of the advantage of the individual, positive
    :param alpha_2: Weight of the advantage of the group, at least 0
    :param alpha_3: Weight of the distance of the two, from 0 to below ``alpha_1``
    :param beta: Power of the distance, at least 1. The distance is counted in deviations of A_i before it is raised. Above 1
        the fine of a very good action may still exceed its gain
    :param group_advantage: Where A_g comes from: ``"time"``, the return over a value that sees only group and time, for
        episodes of one patient; ``"critic"``, the group critic, where one decision matters to several groups, as in hospitals;
        ``"batch_mean"``, the mean advantage of the group's other steps in the rollout
    :param group_kl: Weight in the loss of the Kullback-Leibler divergence of the policy for a group from those for all groups,
        at least 0; needs a ``GroupConditionedPolicy``
    :param kl_alarm: Warn when the policies of two groups are further apart than this many nats on average over states; None:
        never
    :param group_names: Names of the groups, in the order of their ids. By default the environment's attribute ``group_names``
    :param discount_time: Time after which the future counts 1/e, in the unit of ``info["elapsed"]``: discounts by elapsed time
        instead of steps. None (default): the environment's attribute ``discount_time`` if it has one; False: never
    :param smoothing: Share of the newest rollout in what is known of the groups, in (0, 1]
    :param shrinkage: A group's performance, which is logged, is drawn to the average as if this many further units (patients,
        episodes, steps) had fared like everybody
    :param fast: Whether to spare work in training. Where training is that of PPO bit for bit, it stays so; otherwise results
        differ by rounding: Adam is fused, and MlpPolicy and MaskedMlpPolicy with Tanh or ReLU, observations in a Box (no
        images) and Discrete actions act and are updated without a graph. All others are updated by SB3's ``train()``
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
    :raises ValueError: If an argument is out of range, ``alpha_3`` is not below ``alpha_1``, ``group_advantage="critic"``
        without known groups, ``group_kl`` without a policy that knows the group, or the environment names other groups than
        ``group_names``; during training if an ``info`` lacks what is needed or contradicts itself
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
        "MaskedMlpPolicy": MaskedMlpPolicy,
        "GroupConditionedPolicy": GroupConditionedPolicy,
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
        alpha_1: float = 1.0,
        alpha_2: float = 0.5,
        alpha_3: float = 0.1,
        beta: float = 1.0,
        group_advantage: str = "time",
        group_kl: float = 0.0,
        kl_alarm: float | None = 1.0,
        group_names: Sequence[str] | None = None,
        discount_time: float | bool | None = None,
        smoothing: float = 0.1,
        shrinkage: float = 20.0,
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
        self._init_relative(
            alpha_1=alpha_1,
            alpha_2=alpha_2,
            alpha_3=alpha_3,
            beta=beta,
            group_advantage=group_advantage,
            group_kl=group_kl,
            kl_alarm=kl_alarm,
            group_names=group_names,
            discount_time=discount_time,
            smoothing=smoothing,
            shrinkage=shrinkage,
            fast=fast,
        )
        if _init_setup_model:
            self._setup_model()

    def learn(
        self: SelfGroupRelativePPO,
        total_timesteps: int = 100_000,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "GroupRelativePPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfGroupRelativePPO:
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )
