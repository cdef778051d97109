from sb3_grpo.group_robust_ppo.group_robust_maskable_ppo import GroupRobustMaskablePPO
from sb3_grpo.group_robust_ppo.group_robust_ppo import GroupRobustPPO
from sb3_grpo.group_robust_ppo.group_robust_recurrent_ppo import GroupRobustRecurrentPPO
from sb3_grpo.group_robust_ppo.policies import CnnPolicy, MaskedMlpPolicy, MlpPolicy, MultiInputPolicy

__all__ = [
    "CnnPolicy",
    "GroupRobustMaskablePPO",
    "GroupRobustPPO",
    "GroupRobustRecurrentPPO",
    "MaskedMlpPolicy",
    "MlpPolicy",
    "MultiInputPolicy",
]
