from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import torch as th
from gymnasium.vector import VectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from sb3_grpo.fair_grpo.case_algorithm import CaseAlgorithmMixin
from sb3_grpo.fair_grpo.case_env import case_vec_env
from sb3_grpo.fair_grpo.case_history import CaseHistory
from sb3_grpo.fair_grpo.latent_cases import LatentCases
from sb3_grpo.fair_grpo.policies import CnnPolicy, MaskedMlpPolicy, MlpPolicy, MultiInputPolicy
from sb3_grpo.fair_grpo.weightings import Cases, Weighting

SelfFairGRPO = TypeVar("SelfFairGRPO", bound="FairGRPO")


class FairGRPO(CaseAlgorithmMixin, PPO):
    """
    Group-relative policy optimisation with weights by source and demographic group (https://arxiv.org/abs/2510.19893), for
    decisions about cases: every step is a whole episode.

    Each case is answered several times, and the advantage of an answer is what it earned beyond the others to the same case.
    There is no critic, so PPO's ``gamma``, ``gae_lambda``, ``clip_range_vf``, ``vf_coef`` and ``normalize_advantage`` do not
    exist here. Rare and hard sources, and rare and hard groups within each source, count more. The rest is PPO of SB3.

    In the environment, ``num_envs`` / R cases wait for R answers each; the ``info`` of every step holds ``case_id``, and
    ``group_id`` and ``source_id`` where cases have them.

    :param policy: The policy model to use (MlpPolicy, CnnPolicy, ...)
    :param env: The environment to learn from: the id of one that is registered with a ``vector_entry_point``, such as the
        ``Diagnosis-*`` environments, or one made by ``gymnasium.make``: ``n_cases * answers`` of them are made; or a Gymnasium
        ``VectorEnv`` or a ``VecEnv`` that presents each case R times
    :param learning_rate: The learning rate, it can be a function of the current progress remaining (from 1 to 0)
    :param n_steps: The number of steps to run for each environment per update: each presents new cases
        (i.e. rollout buffer size is n_steps * n_envs where n_envs is the number of cases at once times ``answers``)
    :param batch_size: Minibatch size in answers, a multiple of ``answers``: cases stay whole
    :param n_epochs: Number of epoch when optimizing the surrogate loss
    :param clip_range: Clipping parameter, it can be a function of the current progress remaining (from 1 to 0).
    :param ent_coef: Entropy coefficient for the loss calculation
    :param max_grad_norm: The maximum value for the gradient clipping
    :param rollout_buffer_class: Rollout buffer class to use. If ``None``, it will be automatically selected.
        Cases are added to it
    :param rollout_buffer_kwargs: Keyword arguments to pass to the rollout buffer on creation
    :param target_kl: Limit the KL divergence between updates. By default, there is no limit on the kl div.
    :param answers: Number of answers R to each case, at least 2. None: what the environment says, else 8
    :param n_cases: Number of cases at once, where the environments are made here
    :param advantage: What an answer's reward is compared with: ``"grpo"``, the mean of the case's rewards, divided by their
        deviation; ``"dr_grpo"``, the mean alone; ``"rloo"``, the mean of the other answers
    :param weighting: How much each case counts: ``"corrected"``; ``"published"``, the published formula with its defects;
        ``None``, all alike; ``"group_dro"``; ``"resampling"``; a function of cases and history that returns one weight per
        case; or a :class:`~sb3_grpo.fair_grpo.weightings.Weighting`
    :param weighting_kwargs: Parameters of the weighting, see its class in :mod:`sb3_grpo.fair_grpo.weightings`
    :param smoothing: Share of the newest rollout in what is known of sources and groups, in (0, 1]; ``"published"`` never
        forgets
    :param reference_kl: Weight of the Kullback-Leibler divergence from a reference policy in the loss, at least 0
    :param reference: Model whose policy is the reference. None: this model's own when training began
    :param group_names: Names of the groups, in the order of their ids. By default the environment's attribute ``group_names``
    :param source_names: Names of the sources, in the order of their ids. By default the environment's ``source_names``
    :param latent_groups: Finds groups by itself, as clusters of cases
        (:class:`~sb3_grpo.fair_grpo.latent_cases.LatentCases`); the environment's groups, if any, are only compared with them
    :param fast: Whether to spare work in training; results differ from those without by rounding. MlpPolicy and
        MaskedMlpPolicy with Tanh or ReLU, observations in a Box (no images), Discrete actions and no ``reference_kl`` look at
        each case once, whatever the number of answers, and act and are updated without a graph. All others are updated by
        SB3's ``train()``
    :param stats_window_size: Window size for the rollout logging, specifying the number of episodes to average
        the reported success rate, mean episode length, and mean reward over
    :param tensorboard_log: the log location for tensorboard (if None, no logging)
    :param policy_kwargs: additional arguments to be passed to the policy on creation. ``net_arch`` is the actor's
    :param verbose: Verbosity level: 0 for no output, 1 for info messages (such as device or wrappers used), 2 for
        debug messages
    :param seed: Seed for the pseudo random generators
    :param device: Device (cpu, cuda, ...) on which the code should be run.
        Setting it to auto, the code will be run on the GPU if possible.
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    :raises ValueError: If an argument is out of range or no environment can be made that presents cases to several answers;
        during training if an episode goes on after one step, or an ``info`` lacks what is needed or contradicts itself
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
        env: GymEnv | VectorEnv | str,
        learning_rate: float | Schedule = 3e-4,
        n_steps: int = 1,
        batch_size: int = 256,
        n_epochs: int = 4,
        clip_range: float | Schedule = 0.2,
        ent_coef: float = 0.0,
        max_grad_norm: float = 0.5,
        rollout_buffer_class: type[RolloutBuffer] | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        target_kl: float | None = None,
        answers: int | None = None,
        n_cases: int = 128,
        advantage: str = "grpo",
        weighting: str | Weighting | Callable[[Cases, CaseHistory], Any] | None = "corrected",
        weighting_kwargs: dict[str, Any] | None = None,
        smoothing: float = 0.1,
        reference_kl: float = 0.0,
        reference: BaseAlgorithm | None = None,
        group_names: Sequence[str] | None = None,
        source_names: Sequence[str] | None = None,
        latent_groups: LatentCases | None = None,
        fast: bool = True,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ):
        cases: Any = case_vec_env(env, answers, n_cases) if _init_setup_model and env is not None else env
        super().__init__(
            policy,
            cases,
            learning_rate=learning_rate,
            n_steps=n_steps,
            # load() sets the file's later: until then there is nothing to warn about
            batch_size=batch_size if _init_setup_model else 1,
            n_epochs=n_epochs,
            gamma=1.0,  # nothing follows a decision
            gae_lambda=1.0,
            clip_range=clip_range,
            normalize_advantage=False,  # advantages are those of a case already
            ent_coef=ent_coef,
            vf_coef=0.0,
            max_grad_norm=max_grad_norm,
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
        self._init_cases(
            answers=answers,
            n_cases=n_cases,
            advantage=advantage,
            weighting=weighting,
            weighting_kwargs=weighting_kwargs,
            smoothing=smoothing,
            reference_kl=reference_kl,
            reference=reference,
            group_names=group_names,
            source_names=source_names,
            latent_groups=latent_groups,
            fast=fast,
        )
        if _init_setup_model:
            self._setup_model()

    @classmethod
    def load(  # type: ignore[override]
        cls: type[SelfFairGRPO],
        path: Any,
        env: GymEnv | VectorEnv | str | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> SelfFairGRPO:
        """
        See the parent.

        :param env: As the constructor takes it
        """
        if env is not None:
            data = load_from_zip_file(path, device=device, custom_objects=custom_objects)[0] or {}
            answers = kwargs.get("answers", data.get("answers"))
            env = case_vec_env(env, answers, data["n_envs"] // answers)
        return super().load(path, env, device, custom_objects, **kwargs)

    def learn(
        self: SelfFairGRPO,
        total_timesteps: int = 100_000,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "FairGRPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfFairGRPO:
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )
