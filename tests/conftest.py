"""Settings that hold for every test."""

import torch as th

# Two test processes share two cores, and one thread makes sums independent of the machine.
th.set_num_threads(1)
