# This file is here just to define MlpPolicy/CnnPolicy/MultiInputPolicy that work for GroupRobustPPO.
# They are those of PPO: the algorithm gives them a group critic where it uses one.
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy, MultiInputActorCriticPolicy

MlpPolicy = ActorCriticPolicy
CnnPolicy = ActorCriticCnnPolicy
MultiInputPolicy = MultiInputActorCriticPolicy
