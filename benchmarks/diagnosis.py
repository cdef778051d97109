"""How fast FairGRPO learns from answers to cases, and in how much memory, against a plain torch loop over the same cases.

    python -m benchmarks.diagnosis --markdown docs/results/benchmark-diagnosis.md

Cases are synthetic: 20 features, two answers, a rare hard group, two sources. Every method presents 512 cases at once, asks
for 8 answers to each, and makes 4 epochs over minibatches of 128 cases, with the same network. Each measurement has a process
of its own. The loop knows nothing of groups, environments, callbacks or files: it is the least that this algorithm can cost.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch as th

from benchmarks.tables import Measured, machine, peak_memory, report
from sb3_grpo import FairGRPO

FEATURES: Final = 20
N_CASES: Final = 512
ANSWERS: Final = 8
BATCH_CASES: Final = 128
EPOCHS: Final = 4
LAYERS: Final = (64, 64)
WRONG: Final = 0.01

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def synthetic(n: int, seed: int = 0) -> Arrays:
    """Features (n, 20), right answers, groups and sources (n,). Group 1 is a tenth, and its first feature is half noise."""
    rng = np.random.default_rng(seed)
    label, group = rng.integers(0, 2, n), (rng.random(n) < 0.1).astype(np.int64)
    features = rng.standard_normal((n, FEATURES), dtype=np.float32)
    features[:, 0] = np.where((group == 1) & (rng.random(n) < 0.5), features[:, 0], 2.0 * label - 1 + 0.5 * features[:, 0])
    features[:, 1] = group
    return features, label, group, rng.integers(0, 2, n)


def fair_grpo(arrays: Arrays, **kwargs: Any) -> tuple[Callable[[int], Any], Callable[[], float]]:
    """What trains FairGRPO for a number of answers, and tells how often its policy is right."""
    from hospital_gym.clinical.case_table import CaseTable
    from hospital_gym.clinical.diagnosis_vector_env import DiagnosisVectorEnv

    features, label, group, source = arrays
    table = CaseTable.from_arrays(features, label, group, ("common", "rare"), source)
    env = DiagnosisVectorEnv(N_CASES * ANSWERS, table, subset="all", answers=ANSWERS, wrong_reward=WRONG)
    seen, right = env.cases.observations[:10_000], label[:10_000]
    del table
    batch_size, policy_kwargs = BATCH_CASES * ANSWERS, {"net_arch": list(LAYERS)}
    model = FairGRPO(
        "MlpPolicy", env, batch_size=batch_size, n_epochs=EPOCHS, policy_kwargs=policy_kwargs, seed=0, device="cpu", **kwargs
    )

    def learn(answers: int) -> None:
        model.learn(answers, reset_num_timesteps=False)

    return learn, lambda: float((model.predict(seen, deterministic=True)[0] == right).mean())


def plain_loop(arrays: Arrays) -> tuple[Callable[[int], Any], Callable[[], float]]:
    """The same without weights, environments or SB3: group-relative policy optimisation as a loop over cases."""
    features, label, _, _ = arrays
    observations = th.as_tensor((features - features.mean(0)) / features.std(0))
    labels = th.as_tensor(label)
    layers: list[th.nn.Module] = []
    for n_inputs, n_outputs in zip((FEATURES, *LAYERS[:-1]), LAYERS, strict=True):
        layers += [th.nn.Linear(n_inputs, n_outputs), th.nn.Tanh()]
    network = th.nn.Sequential(*layers, th.nn.Linear(LAYERS[-1], 2))
    optimizer = th.optim.Adam(network.parameters(), lr=3e-4, eps=1e-5)

    def rollout(number: int) -> None:
        start = number * N_CASES % (len(labels) - N_CASES + 1)
        seen, right = observations[start : start + N_CASES], labels[start : start + N_CASES]
        with th.no_grad():
            log_probs = network(seen).log_softmax(1)
            answers = th.multinomial(log_probs.exp(), ANSWERS, replacement=True)
            old = log_probs.gather(1, answers)
        rewards = th.where(answers == right[:, None], 1.0, WRONG)
        advantages = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-6)
        for _ in range(EPOCHS):
            for rows in th.randperm(N_CASES).split(BATCH_CASES):
                ratio = (network(seen[rows]).log_softmax(1).gather(1, answers[rows]) - old[rows]).exp()
                gains = advantages[rows]
                loss = -th.min(gains * ratio, gains * ratio.clamp(0.8, 1.2)).mean()
                optimizer.zero_grad()
                loss.backward()
                th.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
                optimizer.step()

    def learn(answers: int) -> None:
        for number in range(answers // (N_CASES * ANSWERS)):
            rollout(number)

    def accuracy() -> float:
        with th.no_grad():
            return float((network(observations[:10_000]).argmax(1) == labels[:10_000]).float().mean())

    return learn, accuracy


METHODS: Final[dict[str, Callable[[Arrays], tuple[Callable[[int], Any], Callable[[], float]]]]] = {
    "plain torch loop over cases": plain_loop,
    "FairGRPO": fair_grpo,
    "FairGRPO, weighting=None": lambda arrays: fair_grpo(arrays, weighting=None),
    "FairGRPO, fast=False": lambda arrays: fair_grpo(arrays, fast=False),
}


def measure(method: str, n: int, answers: int) -> dict[str, float]:
    """Train in this process."""
    th.set_num_threads(1)
    th.manual_seed(0)
    learn, accuracy = METHODS[method](synthetic(n))
    learn(N_CASES * ANSWERS)  # everything is compiled and allocated
    before = peak_memory(reset=True)
    began = time.process_time()
    learn(answers)
    seconds = time.process_time() - began
    return {"speed": answers / seconds, "before": before, "peak": peak_memory(), "accuracy": accuracy()}


def in_process(method: str, n: int, answers: int) -> dict[str, float]:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.diagnosis", "--measure", method, "--cases", str(n), "--answers", str(answers)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout)


HEADER: Final = ("method", "cases", "answers", "answers/s", "ratio", "MiB before", "MiB peak", "accuracy")


def rows_of(cases: int, large: int, repetitions: int) -> list[tuple[str, ...]]:
    """The table: every method on the same number of answers, and one pass over the large number of cases."""
    answers = cases * ANSWERS // (N_CASES * ANSWERS) * N_CASES * ANSWERS
    results: dict[tuple[str, int], list[dict[str, float]]] = {}
    for repetition in range(repetitions):
        for method in METHODS:
            results.setdefault((method, cases), []).append(in_process(method, cases, answers))
        print(f"{repetition + 1} of {repetitions} measurements", file=sys.stderr)
    if large:
        results["FairGRPO", large] = [in_process("FairGRPO", large, large * ANSWERS // 4096 * 4096)]
    fastest = {key: max(measured, key=lambda one: one["speed"]) for key, measured in results.items()}
    peer = fastest[next(iter(METHODS)), cases]["speed"]
    return [
        (
            method,
            f"{n:,}",
            f"{n * ANSWERS // 4096 * 4096:,}",
            f"{result['speed']:,.0f}",
            f"{result['speed'] / peer:.2f}",
            f"{result['before']:.0f}",
            f"{result['peak']:.0f}",
            f"{result['accuracy']:.3f}",
        )
        for (method, n), result in fastest.items()
    ]


def note(repetitions: int, load: float) -> str:
    """What the table means, and the machine."""
    settings = f"{ANSWERS} answers to each, {EPOCHS} epochs, minibatches of {BATCH_CASES} cases, layers {LAYERS}"
    explained = f"""{N_CASES} cases at once, {settings}; fastest of {repetitions} measurements
taken in turn, each in a process of its own (the largest table: one). Seconds are those for which the process had a core.
Ratio: to the loop, which has no weights, environment, log or infos. MiB: memory of the process when training began, table
included, and the most during training. Accuracy: of the likeliest answers to 10,000 of the cases: all learn alike."""
    return f"{explained}\n\n{machine(load, f'PyTorch {th.__version__}')}"


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=50_000, metavar="N", help="cases of the comparison (%(default)s)")
    parser.add_argument("--large", type=int, default=1_000_000, metavar="N", help="cases of one pass; 0: none (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="measurements of each row (%(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table to this file")
    parser.add_argument("--measure", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--answers", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure, options.cases, options.answers)))
        return 0
    load = os.getloadavg()[0]
    rows = rows_of(options.cases, options.large, options.repetitions)
    report([Measured(HEADER, rows)], note(options.repetitions, load), options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
