"""Group Robust Policy Optimization for Stable-Baselines3.

Importing this package registers the ``Hospital-*`` environments with Gymnasium.
"""

from pathlib import Path

import hospital_gym  # noqa: F401  (registers the environments)
from sb3_grpo.common.group_assignment import GroupAssignment
from sb3_grpo.group_robust_ppo import GroupRobustMaskablePPO, GroupRobustPPO, GroupRobustRecurrentPPO

__version__ = Path(__file__).with_name("version.txt").read_text(encoding="utf-8").strip()

__all__ = ["GroupAssignment", "GroupRobustMaskablePPO", "GroupRobustPPO", "GroupRobustRecurrentPPO", "__version__"]
