"""Settings that hold for every test."""

import sys
from pathlib import Path

import torch as th
from hypothesis import settings

# The same examples in every run: a test that passes once passes again.
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")

# Two test processes share two cores, and one thread makes sums independent of the machine.
th.set_num_threads(1)

# Some tests use the decision problems of an example, which are solved exactly there.
sys.path.append(str(Path(__file__).parents[1] / "docs" / "examples"))
