# The policies of GroupRobustMaskablePPO. They are those of MaskablePPO: the algorithm gives them a group critic where it uses
# one.
from sb3_contrib.ppo_mask.policies import CnnPolicy, MlpPolicy, MultiInputPolicy

__all__ = ["CnnPolicy", "MlpPolicy", "MultiInputPolicy"]
