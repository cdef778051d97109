from sb3_grpo.group_relative_ppo.advantages import Mixture, batch_mean, concerned_group, shape
from sb3_grpo.group_relative_ppo.group_conditioned_policy import GroupConditionedPolicy
from sb3_grpo.group_relative_ppo.group_divergence import divergence_from_groups, pairwise_divergence
from sb3_grpo.group_relative_ppo.group_observation import GroupObservation, with_group
from sb3_grpo.group_relative_ppo.group_relative_ppo import GroupRelativePPO
from sb3_grpo.group_relative_ppo.policies import CnnPolicy, MaskedMlpPolicy, MlpPolicy, MultiInputPolicy

__all__ = [
    "CnnPolicy",
    "GroupConditionedPolicy",
    "GroupObservation",
    "GroupRelativePPO",
    "MaskedMlpPolicy",
    "Mixture",
    "MlpPolicy",
    "MultiInputPolicy",
    "batch_mean",
    "concerned_group",
    "divergence_from_groups",
    "pairwise_divergence",
    "shape",
    "with_group",
]
