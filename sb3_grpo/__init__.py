"""Group Robust Policy Optimization for Stable-Baselines3.

Importing this package registers the ``Hospital-*`` environments with Gymnasium.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import hospital_gym  # noqa: F401  (registers the environments)
from sb3_grpo.common.group_assignment import GroupAssignment
from sb3_grpo.common.vec_env import from_vector_env, make_vec_env
from sb3_grpo.fair_grpo import FairGRPO
from sb3_grpo.group_relative_ppo import GroupRelativePPO
from sb3_grpo.group_robust_ppo import GroupRobustMaskablePPO, GroupRobustPPO, GroupRobustRecurrentPPO

if TYPE_CHECKING:
    from sb3_grpo.fairness.evaluate import evaluate_fairness

__version__ = Path(__file__).with_name("version.txt").read_text(encoding="utf-8").strip()

__all__ = [
    "FairGRPO",
    "GroupAssignment",
    "GroupRelativePPO",
    "GroupRobustMaskablePPO",
    "GroupRobustPPO",
    "GroupRobustRecurrentPPO",
    "__version__",
    "evaluate_fairness",
    "from_vector_env",
    "make_vec_env",
]


def __getattr__(name: str) -> Any:
    """What is imported only when it is used: statistics take as long to import as all the rest."""
    if name != "evaluate_fairness":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sb3_grpo.fairness.evaluate import evaluate_fairness

    return evaluate_fairness
