"""Watches the gate of a fusion network while a model trains."""

import warnings

import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_grpo.common.checks import check_whole, is_number
from sb3_grpo.common.rollout_sample import some_observations
from sb3_grpo.time_series.embedding import preprocessed
from sb3_grpo.time_series.fusion import fusion_extractor
from sb3_grpo.time_series.gate import CLOSED_BELOW, UNIFORM_BELOW, GateUse, gate_use


class GateMonitorCallback(BaseCallback):
    """Logs after every rollout what the gate of a :class:`~sb3_grpo.time_series.TimeSeriesFusionExtractor` does, and warns
    once when it has collapsed: when all parts are switched off, or the gate is one number for all features and patients.

    ====================  ================================================================================================
    ``gate/<part>``       mean gate of a modality, or of ``static``, in (0, 1)
    ``gate/spread``       standard deviation over features and observations
    ``gate/response``     standard deviation over observations, the mean over features: 0 if every patient has the same gate
    ``gate/closed``       number of parts that are as good as switched off
    ``gate/collapsed``    1 while the gate is collapsed, else 0
    ====================  ================================================================================================

    :param n_observations: number of observations of each rollout to look at, at least 2
    :param closed_below: mean gate below which a part counts as switched off, in (0, 1)
    :param uniform_below: spread below which the gate counts as one number, in (0, 1)
    :param verbose: as for every callback of Stable-Baselines3
    :raises ValueError: if a number is out of range; at the start of training if the policy has no such extractor, or the
        algorithm keeps no rollouts
    """

    def __init__(
        self,
        n_observations: int = 256,
        closed_below: float = CLOSED_BELOW,
        uniform_below: float = UNIFORM_BELOW,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        check_whole("n_observations", n_observations, 2)
        for key, number in (("closed_below", closed_below), ("uniform_below", uniform_below)):
            if not (is_number(number) and 0 < number < 1):
                raise ValueError(f"{key}: got {number!r}, expected a number between 0 and 1")
        self.n_observations = n_observations
        self.closed_below = closed_below
        self.uniform_below = uniform_below
        self.use: GateUse | None = None
        self._collapsed: str | None = None

    def _on_training_start(self) -> None:
        if not isinstance(self.model, OnPolicyAlgorithm):
            raise ValueError(f"model: got {type(self.model).__name__}, expected an algorithm with rollouts, such as PPO")
        fusion_extractor(self.model.policy)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        assert isinstance(self.model, OnPolicyAlgorithm)
        extractor = fusion_extractor(self.model.policy)
        observations = some_observations(self.model.rollout_buffer, self.n_observations, self.model.device)
        with th.no_grad():
            gate = extractor.read(preprocessed(self.model.policy, observations)).gate
        self.use = gate_use(gate, list(extractor.parts.values()))
        before, self._collapsed = self._collapsed, self.use.collapse(self.closed_below, self.uniform_below)
        for part, level in zip(extractor.parts, self.use.levels, strict=True):
            self.logger.record(f"gate/{part}", float(level))
        self.logger.record("gate/spread", self.use.spread)
        self.logger.record("gate/response", self.use.response)
        self.logger.record("gate/closed", int(self.use.closed(self.closed_below).sum()))
        self.logger.record("gate/collapsed", float(self._collapsed is not None))
        if self._collapsed is not None and before is None:
            level = f"{self.use.levels.mean():.3f} +- {self.use.spread:.2g}"
            what = {"closed": "switches every part off", "uniform": "is one number for all features and patients"}
            warnings.warn(
                f"The gate has collapsed after {self.num_timesteps} steps. It {what[self._collapsed]}: {level}", stacklevel=2
            )
