"""Settings of one algorithm for another."""

import pytest

from sb3_grpo.common.hyperparameters import TrainingSettings
from sb3_grpo.training import settings_of


@pytest.mark.parametrize(
    "algorithm, policy, expected",
    [
        ("group_robust_ppo", "MaskedMlpPolicy", "MaskedMlpPolicy"),
        ("group_robust_ppo", "sb3_grpo.group_robust_ppo.MaskedMlpPolicy", "MaskedMlpPolicy"),
        ("group_robust_maskable_ppo", "MaskedMlpPolicy", "MlpPolicy"),
        ("group_robust_recurrent_ppo", "MaskedMlpPolicy", "MaskedMlpLstmPolicy"),
        ("group_robust_ppo", "MlpPolicy", "MlpPolicy"),
    ],
)
def test_each_algorithm_has_its_own_policy(algorithm: str, policy: str, expected: str) -> None:
    assert settings_of(algorithm, TrainingSettings(1, 1, policy, None, {})).policy == expected
