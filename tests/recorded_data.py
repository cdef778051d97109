"""What tests on arrivals share: recorded data where a machine has them, and steady property tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

DATA = os.environ.get("HOSPITAL_GYM_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="HOSPITAL_GYM_DATA is not set: no recorded data to test on")

# The same examples in every run, and no time limit per example: the machine may be busy.
steady = settings(derandomize=True, deadline=None, max_examples=60)


def recorded(name: str) -> Path:
    assert DATA is not None
    return Path(DATA) / name
