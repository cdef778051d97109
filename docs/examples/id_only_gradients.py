"""
What group ids can say without rewards by group, and what they cannot.

Two decision problems, small enough to be solved exactly. In the first each episode belongs to one group. In the second the
groups share a queue: whoever is served, the others wait, so that what a group suffers comes from decisions about other groups.

GroupRobustPPO updates a policy table once, on samples in the exact proportions in which the policy meets them, with exact
values. What moved is compared with the true gradient of (1 - lam) average + lam worst group, found by finite differences.

    python id_only_gradients.py
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from rich.console import Console
from scipy.special import log_softmax, softmax
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_grpo import GroupRobustPPO
from sb3_grpo.common.group_infos import GroupStep

#: Learning rate of the one update. Weights have 32 bits, so that a long step tells more of its direction
RATE = 1e3


class Problem(NamedTuple):
    """A decision problem of T steps, S states, A actions and G groups. A state of a policy is a pair (step, state)."""

    first: np.ndarray  # (S,): probability of each first state
    transitions: np.ndarray  # (T, S, A, S): probability of the next state; all 0 where the episode ends
    rewards: np.ndarray  # (T, S, A, G): expected reward of each group
    exposure: np.ndarray  # (T, S, A, G): expected exposure of each group
    ids: np.ndarray  # (T, S, A): group that the step concerns


class Solution(NamedTuple):
    """What a policy does in a problem, exactly."""

    occupancy: np.ndarray  # (T, S, A): how often an episode passes here
    values: np.ndarray  # (T, S, G): expected reward of each group from here on
    following: np.ndarray  # (T, S, A, G): the same from the next step on
    performance: np.ndarray  # (G,): z, expected reward per expected exposure
    shares: np.ndarray  # (G,): p, share of each group in the exposure


def shared_queue(
    arrivals: tuple[float, ...] = (0.5, 0.3),
    benefits: tuple[float, ...] = (1.0, 0.6),
    losses: tuple[float, ...] = (0.1, 0.05),
    places: int = 3,
    steps: int = 8,
) -> Problem:
    """
    Each step serves one group. Who is served gets a benefit, who waits on loses some, and who finds no place or is never
    served gets none. A group's exposure is all its patients, whatever the policy.

    :param arrivals: Probability of an arrival per step, by group; at most one patient arrives
    :param benefits: Benefit of being served, by group
    :param losses: What a step of waiting takes away, by group
    :param places: Places to wait, of each group
    :param steps: Steps of an episode
    """
    n_groups = len(arrivals)
    queues = np.array(list(product(range(places + 1), repeat=n_groups)))
    n_states, index = len(queues), {tuple(queue): state for state, queue in enumerate(queues.tolist())}
    transitions = np.zeros((steps, n_states, n_groups, n_states))
    rewards, exposure = np.zeros((2, steps, n_states, n_groups, n_groups))
    for state, action in product(range(n_states), range(n_groups)):
        served = np.eye(n_groups, dtype=int)[action] * (queues[state] > 0)
        waiting = queues[state] - served
        rewards[:, state, action] = benefits * served - losses * waiting
        exposure[:, state, action] = served
        exposure[-1, state, action] += waiting
        for group, probability in enumerate((*arrivals, 1.0 - sum(arrivals))):
            arrived = np.eye(n_groups + 1, dtype=int)[group, :n_groups]
            turned_away = arrived * (waiting == places)
            following = waiting + arrived - turned_away
            transitions[:-1, state, action, index[tuple(following.tolist())]] += probability
            exposure[:, state, action] += probability * turned_away
            exposure[-1, state, action] += probability * (arrived - turned_away)
    ids = np.broadcast_to(np.arange(n_groups), (steps, n_states, n_groups))
    return Problem(np.full(n_states, 1 / n_states), transitions, rewards, exposure, ids)


def own_episodes(
    shares: tuple[float, ...] = (0.7, 0.3), lengths: tuple[int, ...] = (6, 3), n_own: int = 4, n_actions: int = 3
) -> Problem:
    """
    Each episode belongs to one group, which has its own states. What happens there is drawn at random, once. A group's
    exposure is its episodes.

    :param shares: Share of each group in the episodes
    :param lengths: Steps of an episode, by group
    :param n_own: States of each group
    :param n_actions: Actions
    """
    rng = np.random.default_rng(0)
    n_groups, steps = len(shares), max(lengths)
    n_states = n_groups * n_own
    transitions = np.zeros((steps, n_states, n_actions, n_states))
    rewards, exposure = np.zeros((2, steps, n_states, n_actions, n_groups))
    for group, length in enumerate(lengths):
        own = slice(group * n_own, (group + 1) * n_own)
        transitions[: length - 1, own, :, own] = rng.dirichlet(np.ones(n_own), (n_own, n_actions))
        rewards[:length, own, :, group] = (1 + group) * rng.normal(size=(n_own, n_actions))
        exposure[length - 1, own, :, group] = 1.0
    of_state = np.repeat(np.arange(n_groups), n_own)
    ids = np.broadcast_to(of_state[:, None], (steps, n_states, n_actions))
    return Problem(np.array(shares)[of_state] / n_own, transitions, rewards, exposure, ids)


def by_id(problem: Problem) -> Problem:
    """The same problem where nothing but ids is told: the whole reward of a step, and exposure 1, are its group's."""
    n_groups = problem.rewards.shape[-1]
    own = np.eye(n_groups)[problem.ids]
    return problem._replace(rewards=problem.rewards.sum(-1, keepdims=True) * own, exposure=own)


def solve(problem: Problem, logits: np.ndarray) -> Solution:
    """
    :param problem: Decision problem
    :param logits: Logits of the policy, (T, S, A)
    """
    policy = softmax(logits, axis=-1)
    n_steps, n_states, _, n_groups = problem.rewards.shape
    flows = np.concatenate([problem.rewards, problem.exposure], axis=-1)
    following, values = np.zeros_like(flows), np.zeros((n_steps + 1, n_states, 2 * n_groups))
    for step in reversed(range(n_steps)):
        following[step] = problem.transitions[step] @ values[step + 1]
        values[step] = np.einsum("sa,sag->sg", policy[step], flows[step] + following[step])
    visits, occupancy = problem.first, np.zeros_like(policy)
    for step in range(n_steps):
        occupancy[step] = visits[:, None] * policy[step]
        visits = np.einsum("sa,sax->x", occupancy[step], problem.transitions[step])
    totals, exposure = np.split(problem.first @ values[0], 2)
    return Solution(
        occupancy, values[:-1, :, :n_groups], following[..., :n_groups], totals / exposure, exposure / exposure.sum()
    )


class TableEnv(gym.Env[Any, Any]):
    """
    A decision problem as an environment with rewards by group.

    :param problem: The decision problem
    :param attributes: Further attributes of the environment
    """

    def __init__(self, problem: Problem, **attributes: Any):
        n_steps, n_states, n_actions, n_groups = problem.rewards.shape
        self.problem = problem
        self.observation_space = spaces.Discrete(n_steps * n_states)
        self.action_space = spaces.Discrete(n_actions)
        self.group_names = tuple(f"group {group}" for group in range(n_groups))
        for name, value in attributes.items():
            setattr(self, name, value)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.state = 0, int(self.np_random.choice(len(self.problem.first), p=self.problem.first))
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        here = (self.time, self.state, int(action))
        rewards, chances = self.problem.rewards[here], self.problem.transitions[here]
        info = {
            "group_id": int(self.problem.ids[here]),
            "group_rewards": rewards.astype(np.float32),
            "group_exposure": self.problem.exposure[here].astype(np.float32),
        }
        terminated = not chances.any()
        if not terminated:
            self.time, self.state = self.time + 1, int(self.np_random.choice(len(chances), p=chances))
        return self.time * len(self.problem.first) + self.state, float(rewards.sum()), terminated, False, info


def one_update_model(problem: Problem, rows: int, lam: float, **kwargs: Any) -> GroupRobustPPO:
    """
    :param problem: Decision problem
    :param rows: Samples of a rollout
    :param lam: Trade-off between average and objective
    :param kwargs: Further arguments of the algorithm
    :return: A model with a policy table, whose update is one step along the gradient
    """
    env = DummyVecEnv([lambda: TableEnv(problem, performance_scale=0.05)] * rows)
    kwargs = {"smoothing": 1.0, "shrinkage": 0.0, "max_weight": 100.0, **kwargs}
    model = GroupRobustPPO(
        "MlpPolicy",
        env,
        learning_rate=RATE,
        n_steps=1,
        batch_size=rows,
        n_epochs=1,
        vf_coef=0.0,
        max_grad_norm=np.inf,
        lam=lam,
        policy_kwargs=dict(net_arch=[], optimizer_class=th.optim.SGD),
        device="cpu",
        **kwargs,
    )
    model.set_logger(Logger(None, []))
    return model


def policy_table(model: GroupRobustPPO) -> th.nn.Linear:
    """The layer that turns the number of a state into logits."""
    layer = model.policy.action_net
    assert isinstance(layer, th.nn.Linear)
    return layer


def exact_samples(occupancy: np.ndarray, rows: int) -> tuple[np.ndarray, ...]:
    """Step, state and action of samples in the proportions of the occupancy, rounded so that there are as many as wanted."""
    wanted = occupancy.ravel() * (rows / occupancy.sum())
    counts = np.floor(wanted).astype(int)
    counts[np.argsort(counts - wanted, kind="stable")[: rows - counts.sum()]] += 1
    return np.unravel_index(np.repeat(np.arange(len(counts)), counts), occupancy.shape)


def fill(model: GroupRobustPPO, problem: Problem, logits: np.ndarray, where: tuple[np.ndarray, ...], split: bool) -> None:
    """
    Give the model a rollout. Each sample is an episode of one step that a time limit ended: what follows has its exact value.

    :param model: The model, whose policy takes these logits
    :param problem: Decision problem
    :param logits: Logits of the policy, (T, S, A)
    :param where: Step, state and action of each sample
    :param split: Whether the rewards are told by group
    """
    step, state, action = where
    solution, n_rows = solve(problem, logits), len(step)
    with th.no_grad():
        policy_table(model).weight.copy_(th.as_tensor(logits.reshape(-1, logits.shape[-1]).T))
        policy_table(model).bias.zero_()
    rewards, following = problem.rewards[where].astype(np.float32), solution.following[where]
    exposure = problem.exposure[where].astype(np.float32)
    values, ended = th.as_tensor(solution.values[step, state]), np.ones(n_rows, dtype=bool)
    total, buffer = rewards.sum(-1), model.rollout_buffer
    buffer.reset()
    buffer.stage(GroupStep(problem.ids[where], rewards if split else None, exposure, None), ended, total)
    if model.group_critic:
        buffer.bootstraps[0] = following
    else:
        total, values = total + following.sum(-1), values.sum(-1)
    log_probs = th.as_tensor(log_softmax(logits, axis=-1)[where])
    buffer.add(step * len(problem.first) + state, action, total, ended, values, log_probs)
    buffer.compute_returns_and_advantage(th.zeros_like(values), ended)
    model._update_group_state(ended)


def update_direction(model: GroupRobustPPO, problem: Problem, logits: np.ndarray, rows: int, split: bool = True) -> np.ndarray:
    """The direction in which the model's own ``train()`` moves the logits, (T, S, A)."""
    fill(model, problem, logits, exact_samples(solve(problem, logits).occupancy, rows), split)
    model.train()
    moved = policy_table(model).weight.detach().numpy().T.reshape(logits.shape)
    return (moved - logits.astype(np.float32)) / RATE


def finite_differences(problem: Problem, logits: np.ndarray, value: Callable[[Solution], float]) -> np.ndarray:
    """Derivative of a number that the solution gives by each logit, (T, S, A)."""
    gradient, step = np.zeros_like(logits), np.zeros_like(logits)
    for index in np.ndindex(logits.shape):
        step[index] = 1e-4
        gradient[index] = value(solve(problem, logits + step)) - value(solve(problem, logits - step))
        step[index] = 0.0
    return gradient / 2e-4


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine of the angle between two directions."""
    return float(np.sum(first * second) / (np.linalg.norm(first) * np.linalg.norm(second)))


def worst_group(performance: np.ndarray) -> np.ndarray:
    """An objective: all weight to the group with the lowest performance, the gradient of the minimum."""
    return np.eye(len(performance))[performance.argmin()]


def compare(name: str, problem: Problem, shown: Problem, lam: float, rows: int, steps: int) -> Iterator[str]:
    """
    Rows of a table: rewards by group and ids alone, each with and without group critic.

    :param name: Name of the problem
    :param problem: Decision problem
    :param shown: The same as an environment shows it that splits no rewards
    :param lam: Trade-off between average and worst group
    :param rows: Samples of an update
    :param steps: Steps of gradient ascent
    """
    uniform = np.zeros(problem.rewards.shape[:3])
    before = solve(problem, uniform).performance.min()

    def value(solution: Solution) -> float:
        return float((1 - lam) * solution.shares @ solution.performance + lam * solution.performance.min())

    gradient = finite_differences(problem, uniform, value)
    for told, seen, split in (("rewards by group", problem, True), ("ids alone", shown, False)):
        for critic in (True, False):
            model = one_update_model(seen, rows, lam, objective=worst_group, group_critic=critic)
            logits, agreements, worst = uniform, [], []
            for _ in range(steps):
                direction = update_direction(model, seen, logits, rows, split)
                logits = logits + 0.5 * direction / np.linalg.norm(direction)
                agreements.append(cosine(direction, gradient))
                worst.append(float(solve(problem, logits).performance.min()))
            means = "group critic" if critic else "sample weights"
            yield f"| {name} | {told}, {means} | {agreements[0]:.4f} | {worst[0] - before:+.4f} | {worst[-1]:.3f} |"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lam", type=float, nargs="+", default=[0.5, 1.0], help="trade-offs between average and worst group")
    parser.add_argument("--rows", type=int, default=5000, help="samples of an update")
    parser.add_argument("--steps", type=int, default=200, help="steps of gradient ascent, each of length 0.5")
    args = parser.parse_args(arguments)
    th.set_num_threads(1)  # the network is a table

    own, queue = own_episodes(), shared_queue()
    for lam in args.lam:
        lines = [f"| lam={lam:g} | update from | cosine | worst group, 1 step | {args.steps} steps |", "|---|---|---|---|---|"]
        lines += compare("own episodes", own, own, lam, args.rows, args.steps)
        lines += compare("shared queue", queue, by_id(queue), lam, args.rows, args.steps)
        Console(soft_wrap=True, highlight=False).print("\n".join(lines), end="\n\n")


if __name__ == "__main__":
    main()
