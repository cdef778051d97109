from sb3_grpo.group_robust_ppo.group_robust_ppo import GroupRobustPPO
from sb3_grpo.group_robust_ppo.policies import CnnPolicy, MaskedMlpPolicy, MlpPolicy, MultiInputPolicy

__all__ = ["CnnPolicy", "GroupRobustPPO", "MaskedMlpPolicy", "MlpPolicy", "MultiInputPolicy"]
