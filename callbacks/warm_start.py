"""Begin to learn where a rule in use leaves off, not from nothing."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.maskable.utils import get_action_masks
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv

from hospital_gym.heuristics import make_heuristic
from sb3_grpo.common.checks import check_whole, is_positive
from sb3_grpo.common.data_parallel import share_parameters
from sb3_grpo.common.imitation import Demonstrations, acting_parameters, imitate
from sb3_grpo.common.playing import Policy

_KNOWN: Final = (ActorCriticPolicy, MaskableActorCriticPolicy)
_HOPELESS: Final = 1e3  # nats for each decision; the logits of invalid actions are at -1e8


class WarmStartCallback(BaseCallback):
    """
    Before the first rollout the policy learns to act as a rule does; then the critic learns what that is worth, while the
    policy stands still, so that the first advantages are not those of a critic that knows nothing. From then on training is
    as ever. The rule's decisions are not counted as time steps of the training, those of the critic's are.

    The fewer and shorter the steps of the imitation, the softer the policy: it remains undecided between patients whom the
    rule values nearly alike, and there it goes on to explore. A perfect copy would never try anything else.

    A model that goes on learning (``reset_num_timesteps=False``) is not started anew, but its policy stands still as long as
    it would have. For PPO and its relatives, without recurrent policies.

    :param rule: Name of a rule, see :data:`hospital_gym.heuristics.HEURISTICS`; or anything with SB3's ``predict``, such as
        another model, that sees the observations of the environments before ``VecNormalize``
    :param n_steps: Decisions of the rule in each environment that the policy learns from, at least 1
    :param n_epochs: How often each of them is used, at least 1
    :param batch_size: How many make a step of the policy's learning, at least 1
    :param learning_rate: Learning rate of that, positive; it falls linearly to 0
    :param critic_steps: Time steps of the training during which only the critic learns, at least 0
    :param verbose: 1 says how well the policy imitates
    :raises ValueError: If an argument is not what it must be; when training begins also if the environments are no hospitals,
        or the policy is recurrent
    """

    def __init__(
        self,
        rule: str | Policy = "c-mu-tuned",
        n_steps: int = 1_600,
        n_epochs: int = 40,
        batch_size: int = 4_096,
        learning_rate: float = 0.006,
        critic_steps: int = 100_000,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        for key, value, least in (
            ("n_steps", n_steps, 1),
            ("n_epochs", n_epochs, 1),
            ("batch_size", batch_size, 1),
            ("critic_steps", critic_steps, 0),
        ):
            check_whole(key, value, least)
        if not is_positive(learning_rate):
            raise ValueError(f"learning_rate: got {learning_rate!r}, expected a positive number")
        self.rule = rule
        self.n_steps, self.n_epochs, self.batch_size, self.learning_rate = n_steps, n_epochs, batch_size, learning_rate
        self.critic_steps = critic_steps
        self._still: list[tuple[th.nn.Parameter, th.Tensor]] = []  # what must not change, and what it was

    def _on_training_start(self) -> None:
        policy = self.model.policy
        if isinstance(policy, RecurrentActorCriticPolicy) or not isinstance(policy, _KNOWN):
            raise ValueError(f"policy: got {type(policy).__name__}, expected an actor-critic policy without memory")
        if not isinstance(self.training_env.observation_space, spaces.Box):
            raise ValueError(f"observation_space: got {self.training_env.observation_space}, expected a Box")
        if self.model.num_timesteps == 0:
            self._imitate(policy)
        if self.model.num_timesteps < self.critic_steps:
            acting = acting_parameters(policy, self.model._last_obs)  # type: ignore[arg-type]
            self._still = [(parameter, parameter.detach().clone()) for parameter in acting]

    def _imitate(self, policy: ActorCriticPolicy | MaskableActorCriticPolicy) -> None:
        shown = self._demonstrations(self._rule())
        generator = np.random.default_rng(getattr(self.model, "seed", None))
        loss = imitate(policy, shown, self.n_epochs, self.batch_size, self.learning_rate, generator)
        if loss > _HOPELESS:
            raise ValueError(f"rule: {self.rule!r} does what the policy cannot do, such as actions that are masked as invalid")
        share_parameters(policy)
        self.logger.record("warm_start/loss", loss)
        if self.verbose:
            self.logger.info(f"Warm start: {len(shown.actions):,} decisions imitated, mean log-likelihood {-loss:.3f}")

    def _rule(self) -> Policy:
        if not isinstance(self.rule, str):
            return self.rule
        return make_heuristic(self.rule, self.training_env.get_attr("unwrapped", [0])[0])

    def _demonstrations(self, rule: Policy) -> Demonstrations:
        """Let the rule act in the environments of the training, which go on from where it leaves them."""
        model: Any = self.model
        env: VecEnv = self.training_env
        masked = isinstance(model.policy, MaskableActorCriticPolicy)
        normalized = model.get_vec_normalize_env()
        rows: list[Sequence[np.ndarray]] = []
        for _ in range(self.n_steps):
            raw = model._last_obs if normalized is None else normalized.get_original_obs()
            actions = np.asarray(rule.predict(raw, deterministic=True)[0])
            masks = [get_action_masks(env)] if masked else []
            rows.append((np.copy(model._last_obs), actions, *masks))
            model._last_obs, _, model._last_episode_starts, _ = env.step(actions)
        observations, all_actions, *all_masks = (np.concatenate(part) for part in zip(*rows, strict=True))
        return Demonstrations(observations, all_actions, all_masks[0] if masked else None)

    def _on_rollout_start(self) -> None:
        self._hold_still()
        if self._still and self.model.num_timesteps >= self.critic_steps:
            for parameter, _ in self._still:  # what Adam remembers of steps that were undone
                self.model.policy.optimizer.state.pop(parameter, None)
            self._still = []

    def _on_training_end(self) -> None:
        self._hold_still()
        self._still = []

    def _hold_still(self) -> None:
        """Undo what the last update did to the policy."""
        with th.no_grad():
            for parameter, value in self._still:
                parameter.copy_(value)

    def _on_step(self) -> bool:
        return True
