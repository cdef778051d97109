"""The task ``hospital``: policies for the simulated hospitals, trained with different lam and compared with the rules in use.

============= ==========================================================================================
declare.py    the keys of the grid, checked
expand.py     the runs that a grid declares
places.py     hospitals, as they are or with changed numbers
train.py      train one model and follow it on validation episodes
play.py       play test episodes with a trained model or a rule
measure.py    what is kept of the episodes
============= ==========================================================================================

There are three kinds of runs: ``train`` (one model; its validation episodes are played by the way), ``test`` (its test
episodes) and ``rule``. Every random number comes from a stream named in the run's configuration.
"""

from collections.abc import Mapping
from typing import Any

from sb3_grpo.study.runs import Output
from sb3_grpo.study.tasks.hospital.expand import expand
from sb3_grpo.study.tasks.hospital.play import play_rule, test
from sb3_grpo.study.tasks.hospital.train import train

__all__ = ["expand", "run"]


def run(config: Mapping[str, Any], inputs: Mapping[str, bytes]) -> Output:
    """Do one run.

    :param config: its configuration, as :func:`expand` makes it
    :param inputs: for a test the trained models by mode
    :return: what it found
    """
    if config["kind"] == "train":
        return train(config)
    return test(config, inputs) if config["kind"] == "test" else play_rule(config)
