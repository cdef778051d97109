# This file is here just to define MlpPolicy/CnnPolicy/MultiInputPolicy that work for FairGRPO.
# They are those of PPO, and one that reads the mask of valid actions from the observation.
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy, MultiInputActorCriticPolicy

from sb3_grpo.common.masked_policies import MaskedActorCriticPolicy

MlpPolicy = ActorCriticPolicy
CnnPolicy = ActorCriticCnnPolicy
MultiInputPolicy = MultiInputActorCriticPolicy
MaskedMlpPolicy = MaskedActorCriticPolicy
