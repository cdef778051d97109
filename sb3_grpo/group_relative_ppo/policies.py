# This file is here just to define the policies that work for GroupRelativePPO.
# They are those of PPO, and one that reads the mask of valid actions from the observation. The one that knows the group it
# acts for is GroupConditionedPolicy.
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy, MultiInputActorCriticPolicy

from sb3_grpo.common.masked_policies import MaskedActorCriticPolicy

MlpPolicy = ActorCriticPolicy
CnnPolicy = ActorCriticCnnPolicy
MultiInputPolicy = MultiInputActorCriticPolicy
MaskedMlpPolicy = MaskedActorCriticPolicy
