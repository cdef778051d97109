"""The rules in use today, for the commands that compare them."""

from hospital_gym.heuristics import HEURISTICS
from sb3_grpo.cli.options import Hospital


def rules_for(hospital: Hospital) -> tuple[list[str], list[str]]:
    """Which rules exist for a hospital.

    :param hospital: the hospital
    :return: names of those that do and of those that do not (those with tuned thresholds, in a hospital without any)
    """
    env = hospital.make_env()
    there, missing = [], []
    for name, make in HEURISTICS.items():
        try:
            make(env)
        except ValueError:
            missing.append(name)
        else:
            there.append(name)
    env.close()
    return there, missing
