from sb3_grpo.fair_grpo.advantages import group_relative_advantages
from sb3_grpo.fair_grpo.case_history import initial_history, update_history
from sb3_grpo.fair_grpo.case_weights import corrected_weights, published_advantages
from sb3_grpo.fair_grpo.fair_grpo import FairGRPO
from sb3_grpo.fair_grpo.latent_cases import LatentCases
from sb3_grpo.fair_grpo.policies import CnnPolicy, MaskedMlpPolicy, MlpPolicy, MultiInputPolicy

__all__ = [
    "CnnPolicy",
    "FairGRPO",
    "LatentCases",
    "MaskedMlpPolicy",
    "MlpPolicy",
    "MultiInputPolicy",
    "corrected_weights",
    "group_relative_advantages",
    "initial_history",
    "published_advantages",
    "update_history",
]
