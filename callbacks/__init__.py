"""Callbacks for Stable-Baselines3 that watch and evaluate each group while a model trains."""

from callbacks.fairness_evaluation import FairnessEvalCallback
from callbacks.fairness_logging import FairnessLoggingCallback
from callbacks.gate_monitor import GateMonitorCallback
from callbacks.live import LiveFairnessCallback
from callbacks.progress import ProgressCallback
from callbacks.warm_start import WarmStartCallback

__all__ = [
    "FairnessEvalCallback",
    "FairnessLoggingCallback",
    "GateMonitorCallback",
    "LiveFairnessCallback",
    "ProgressCallback",
    "WarmStartCallback",
]
