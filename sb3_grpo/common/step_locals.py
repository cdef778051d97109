"""What SB3's ``collect_rollouts()`` knows of the step that it has just taken."""

from typing import Any

from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv


class StepLocalsMixin(OnPolicyAlgorithm):
    """
    Goes before an on-policy algorithm in the list of base classes. ``_update_info_buffer()``, which is called between
    ``env.step()`` and ``rollout_buffer.add()``, sees infos and dones only; callbacks see all of the step.
    """

    # Live only while a rollout is collected
    _rollout_callback: BaseCallback | None = None

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        """See the parent."""
        self._rollout_callback = callback
        try:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps, *args, **kwargs)
        finally:
            self._rollout_callback = None

    def step_locals(self) -> dict[str, Any] | None:
        """
        :return: Local variables of ``collect_rollouts()``; None outside of it
        """
        return None if self._rollout_callback is None else self._rollout_callback.locals

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_rollout_callback"]
