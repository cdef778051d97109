# The policies of GroupRobustRecurrentPPO. They are those of RecurrentPPO, and one that reads the mask of valid actions from
# the observation: the algorithm gives them a group critic where it uses one.
from sb3_contrib.ppo_recurrent.policies import CnnLstmPolicy, MlpLstmPolicy, MultiInputLstmPolicy

from sb3_grpo.common.masked_policies import MaskedRecurrentActorCriticPolicy

MaskedMlpLstmPolicy = MaskedRecurrentActorCriticPolicy

__all__ = ["CnnLstmPolicy", "MaskedMlpLstmPolicy", "MlpLstmPolicy", "MultiInputLstmPolicy"]
