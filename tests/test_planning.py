"""Planning: the parts against hand-computed values, the whole on problems with known optima, and in hospitals."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.decision_problems import GuessEnv, ProtocolEnv, TrapEnv, random_table
from hospital_gym.heuristics import HEURISTICS
from hospital_gym.hospital_env import HospitalEnv
from hospital_gym.scenarios import SCENARIOS
from sb3_grpo import GroupRobustMaskablePPO, GroupRobustPPO, evaluate_fairness
from sb3_grpo.planning import Planner, PlanningPolicy
from sb3_grpo.planning.genetic import Evolution, diversity, mutate, tournament_selection, two_point_crossover
from sb3_grpo.planning.plan import latency_of
from sb3_grpo.planning.tree import (
    Edge,
    Node,
    Scale,
    backpropagate,
    is_surely_better,
    mixed_prior,
    n_outcomes,
    puct_scores,
    wants_draw,
)

TINY = replace(
    SCENARIOS["Rural"],
    beds=(5, 2, 2),
    requests_per_day=5.0,
    burn_in_hours=24.0,
    horizon_hours=48.0,
    counted_from=0.0,
    counted_tail=12.0,
)


# --- pure functions ---------------------------------------------------------------------------------------------------------


def test_tournament_is_won_as_often_as_computed() -> None:
    # 10,000 tournaments of 2 among 4: the best wins 1 - (3/4)^2 = 0.4375, standard error 0.005; 4 standard errors
    won = tournament_selection(np.array([0.0, 3.0, 1.0, 2.0]), 10_000, 2, np.random.default_rng(0))
    assert abs((won == 1).mean() - 0.4375) < 0.02


def test_crossover_takes_one_stretch_of_the_second_parent() -> None:
    child = two_point_crossover(np.zeros((200, 7), dtype=int), np.ones((200, 7), dtype=int), np.random.default_rng(0))
    assert set(child.ravel()) == {0, 1}
    assert (np.abs(np.diff(np.pad(child, ((0, 0), (1, 1))), axis=1)).sum(axis=1) <= 2).all()


def test_mutation_changes_the_share_it_should_to_another_action() -> None:
    genes = np.random.default_rng(1).integers(5, size=(100, 100))
    assert (mutate(genes, 1.0, 5, np.random.default_rng(0)) != genes).all()
    assert (mutate(genes, 0.0, 5, np.random.default_rng(0)) == genes).all()
    changed = (mutate(genes, 0.2, 5, np.random.default_rng(0)) != genes).mean()
    assert abs(changed - 0.2) < 4 * 0.004
    assert (mutate(np.zeros((2, 2), dtype=int), 1.0, 1, np.random.default_rng(0)) == 0).all()


def test_diversity_by_hand() -> None:
    assert diversity(np.zeros((4, 3), dtype=int), 2) == 0.0
    assert diversity(np.array([[0, 0], [1, 0]]), 2) == pytest.approx((0.5 + 0.0) / 2)


def test_evolution_keeps_the_best_and_counts_stagnation() -> None:
    evolution = Evolution(np.array([[0, 0], [1, 1], [0, 1]]), 2, np.random.default_rng(0), elites=1)
    evolution.value(lambda genes: genes.sum(axis=1).astype(float))
    for generation in range(1, 4):
        evolution.breed()
        evolution.value(lambda genes: genes.sum(axis=1).astype(float))
        assert (evolution.stagnation, evolution.best_fitness[-1]) == (generation, 2.0)
    assert evolution.best(1)[0].tolist() == [[1, 1]]


def test_puct_by_hand() -> None:
    scores = puct_scores(np.array([0.5, 0.25]), np.array([3.0, 1.0]), np.array([0.2, 0.8]), 1.5)
    np.testing.assert_allclose(scores, [0.5 + 1.5 * 0.2 * 2 / 4, 0.25 + 1.5 * 0.8 * 2 / 2])
    assert puct_scores(np.zeros(2), np.zeros(2), np.array([0.4, 0.6]), 1.0).argmax() == 1


def test_prior_is_shared_with_candidates() -> None:
    prior, actions = np.array([0.5, 0.5]), np.array([2, 7])
    np.testing.assert_allclose(mixed_prior(prior, actions, np.array([7, 7, 2, 9]), 0.6), [0.2 + 0.2, 0.2 + 0.4])
    np.testing.assert_allclose(mixed_prior(prior, actions, np.array([9]), 0.6), prior)


def test_outcomes_grow_with_the_root_of_the_visits() -> None:
    assert [n_outcomes(n, 0.5) for n in (0, 1, 3, 8, 9)] == [1, 2, 2, 3, 4]


def test_backpropagation_is_a_mean_over_outcomes() -> None:
    """Action 0 was drawn three times, twice with one outcome; what is learned about that one counts two thirds."""
    root, child = (Node(np.array([0]), np.ones(1), None, route) for route in ((), (0,)))
    often, seldom = Edge(1, None, 1.0, 0.5), Edge(2, None, 4.0, 0.5)
    often.judge(6.0)
    root.add(0, often, 2)
    root.add(0, seldom, 1)
    assert root.values(np.nan)[0] == (2 * (1 + 0.5 * 6) + 4) / 3
    often.node, leaf = child, Edge(3, None, 2.0, 0.1)
    leaf.judge(10.0)
    child.add(0, leaf, 1)
    scale = Scale()
    assert backpropagate([(root, 0, often), (child, 0, leaf)], scale) == 1 + 0.5 * (2 + 0.1 * 10)
    assert often.value == (6 + 3) / 2  # its first judgement, and one visit that brought 3
    assert root.values(np.nan)[0] == (2 * (1 + 0.5 * 4.5) + 4) / 3
    assert (root.visits[0], child.visits[0], root.mean()) == (1.0, 1.0, root.values(np.nan)[0])
    assert (scale.low, scale.high) == (3.0, root.mean())
    np.testing.assert_allclose(Scale(2.5, 3.0).scaled(np.array([2.5, 2.75, 3.0])), [0.0, 0.5, 1.0])


def test_draws_follow_the_root_of_the_visits_until_chance_shows() -> None:
    assert [wants_draw(n, n, 1, 1, 0.5) for n in (0, 1, 2, 3)] == [True, True, False, False]
    assert wants_draw(8, 8, 2, 1, 0.5) and not wants_draw(8, 8, 3, 1, 0.5)  # three outcomes are wanted
    assert wants_draw(3, 64, 20, 64, 0.5) and not wants_draw(3, 128, 20, 64, 0.5)


def test_caution_asks_for_standard_errors() -> None:
    """The usual action brought 0 or 1, four times each; the other 1 eight times: their difference is 0.5 with error 0.189."""
    node = Node(np.array([3, 5]), np.array([0.9, 0.1]), None)
    for place, reward, count in ((0, 0.0, 4), (0, 1.0, 4), (1, 1.0, 8)):
        edge = node.edges[place].setdefault(reward, Edge(0, None, reward, 0.0))
        node.add(place, edge, count)
        node.visits[place] = 1.0
    assert node.moments(0) == (0.5, pytest.approx(0.25 / 7)) and node.moments(1) == (1.0, 0.0)
    assert node.better_than(0, 2.0) == 1 and node.better_than(0, 3.0) == 0


def test_a_candidate_is_surely_better_by_two_standard_errors_of_all_returns() -> None:
    returns = [0.0, 1.0] * 8  # standard deviation 0.5: with four trials two standard errors are 0.5
    assert is_surely_better([1.0] * 4, 0.49, returns) and not is_surely_better([1.0] * 4, 0.51, returns)


def test_latency() -> None:
    assert latency_of([1.0, 2.0, 3.0]) == (3, 2.0, pytest.approx(2.9))
    assert latency_of([])[0] == 0


# --- known optima -----------------------------------------------------------------------------------------------------------


def trap_value(seed: int, share: float, simulations: int, env: TrapEnv) -> float:
    observation, _ = env.reset(seed=0)
    planner = Planner(
        env,
        futures="actual",
        horizon=env.blocks * env.size,
        simulations=simulations,
        genetic_share=share,
        population=30,
        patience=None,
        candidate_weight=0.8,
        seed=seed,
    )
    return planner.plan(observation).value


def test_genetic_algorithm_solves_a_deceptive_bit_string() -> None:
    """Two blocks of three: one hit in 64 at random; the false optimum of all zeros pays 4, all ones 6."""
    assert [trap_value(seed, 1.0, 1500, TrapEnv(2, 3)) for seed in range(5)] == [6.0] * 5


def test_tree_search_finds_the_best_action_of_random_processes() -> None:
    """Three steps of chance with optima by backward induction; the action chosen is within 0.05 of the best."""
    for seed in range(5):
        env = random_table(seed)
        observation, _ = env.reset(seed=0)
        plan = Planner(env, horizon=3, simulations=800, genetic_share=0.0, seed=seed).plan(observation)
        best = env.action_values()[0, 0]
        assert best[plan.action] > best.max() - 0.05
        assert plan.value == pytest.approx(best[plan.action], abs=0.35)


def test_the_optimum_of_the_protocol_is_known() -> None:
    env = ProtocolEnv(blocks=2, size=3, responses=2, safe=0.8)
    env.reset(seed=0)
    assert env.action_values(env.state) == (2 + 3 + 4.0, 6 + 4.0)  # a first 0 spoils one block, of which zeros bring 2
    assert env.action_values((6, (3, 3), 0)) == (0.8 * 4, 4.0)
    assert env.action_values((7, (3, 3), 1)) == (2.0, 4.0) and env.action_values((8, (3, 3), 1)) == (0.0, 2.0)
    for action in (1, 1, 1, 1, 1, 1):
        reward = env.step(action)[1]
    assert reward == 6.0 and env.step(0)[1] == 0.8 * 4 and env.state[0] == env.length


def test_a_sequence_does_not_react_to_chance_and_a_tree_does() -> None:
    """At the choice, what must be adapted is worth 6, a sequence fixed in advance earns 3 of it, and the standard pays 4.8."""
    env = ProtocolEnv(blocks=1, size=1, responses=3)
    for seed in range(2):
        env.reset(seed=seed)
        observation = env.step(1)[0]
        chosen = [
            Planner(env, simulations=4000, horizon=4, futures=16, genetic_share=share, patience=3, seed=seed).plan(observation)
            for share in (1.0, 0.5, 0.0)
        ]
        assert [plan.action for plan in chosen] == [0, 1, 1]


# --- honesty ----------------------------------------------------------------------------------------------------------------


def test_planner_does_not_see_the_coin_that_will_fall() -> None:
    """1,000 fair guesses have a standard error of 0.016; a planner that sees the coin gets 1 each time."""
    env = GuessEnv()
    env.reset(seed=0)
    honest = [Planner(env, simulations=16, population=4, elites=1, genetic_share=share).plan(0) for share in (0.0, 0.5, 1.0)]
    assert not any(plan.statistics.is_clairvoyant for plan in honest)
    right = 0
    for trial in range(200):
        env.reset(seed=trial)
        plan = Planner(env, simulations=8, population=4, elites=1, seed=trial).plan(0)
        right += int(env.step(plan.action)[1])
    assert abs(right / 200 - 0.5) < 4 * 0.0354
    env.reset(seed=0)
    clairvoyant = Planner(env, simulations=32, futures="actual").plan(0)
    assert clairvoyant.statistics.is_clairvoyant and clairvoyant.value == 1.0
    assert env.step(clairvoyant.action)[1] == 1.0


def hospital(steps: int = 0) -> tuple[gym.Env, np.ndarray]:
    env = gym.make("Hospital-v0", scenario=TINY)
    observation, _ = env.reset(seed=3)
    for _ in range(steps):
        observation = env.step(31)[0]
    return env, observation


def test_plan_in_a_hospital_is_valid_reproducible_and_leaves_the_hospital_alone() -> None:
    env, observation = hospital(4)
    base = env.unwrapped
    assert isinstance(base, HospitalEnv)
    before = base.snapshot()
    rule = HEURISTICS["triage"](env)
    plans = [Planner(env, rule, simulations=96, horizon=6, population=6, seed=seed).plan(observation) for seed in (1, 1, 2)]
    assert base.action_masks()[plans[0].action]
    assert set(plans[0].statistics.root) == set(np.flatnonzero(base.action_masks()))
    assert plans[0].sequence == plans[1].sequence and plans[0].value == plans[1].value != plans[2].value
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before.arrays, base.snapshot().arrays, strict=True))


def test_a_tree_does_not_depend_on_the_real_future() -> None:
    env, observation = hospital(4)
    base: Any = env.unwrapped
    planner = [Planner(env, simulations=64, horizon=5, population=6, seed=0).plan(observation)]
    base.redraw_future(99)
    planner.append(Planner(env, simulations=64, horizon=5, population=6, seed=0).plan(observation))
    assert planner[0].value == planner[1].value


@pytest.mark.parametrize(("algorithm", "policy"), [(GroupRobustPPO, "MaskedMlpPolicy"), (GroupRobustMaskablePPO, "MlpPolicy")])
def test_model_is_prior_and_value_and_invalid_actions_are_never_taken(algorithm: Any, policy: str) -> None:
    env, observation = hospital(4)
    model = algorithm(policy, env, n_steps=16, batch_size=16, policy_kwargs=dict(net_arch=[8]), seed=0, device="cpu")
    observation, _ = env.reset(seed=3)
    planner = Planner(env, model, simulations=48, horizon=4, population=6)
    mask = env.get_wrapper_attr("action_masks")()
    prior = planner.guide.prior(observation, mask)
    assert prior.sum() == pytest.approx(1.0) and (prior[~mask] == 0.0).all()
    with_values = model.policy.predict_values(model.policy.obs_to_tensor(observation[None])[0])
    assert planner.guide.values([observation])[0] == pytest.approx(with_values.sum().item(), rel=1e-5)
    assert mask[planner.plan(observation).action]


def test_planner_plays_in_evaluate_fairness() -> None:
    env, _ = hospital()
    policy = PlanningPolicy(
        Planner(env, HEURISTICS["triage"](env), simulations=12, horizon=3, population=2, elites=1, futures=1)
    )
    report = evaluate_fairness({"triage": "triage", "planner": policy}, env, n_eval_episodes=2, progress=False)
    assert "planner" in report.to_json()
    assert policy.latency().decisions > 10
    with pytest.raises(ValueError, match="expected one"):
        policy.predict(np.zeros((2, *env.observation_space.shape)))  # type: ignore[misc]


# --- anytime, and nonsense --------------------------------------------------------------------------------------------------


def test_plans_get_better_and_the_first_comes_at_once() -> None:
    env = TrapEnv(2, 3)
    observation, _ = env.reset(seed=0)
    planner = Planner(env, futures="actual", horizon=6, simulations=300)
    plans = list(planner.improve(observation))
    assert plans[0].statistics.simulations == 0 and np.isnan(plans[0].value)
    values = [plan.value for plan in plans[1:]]
    assert values == sorted(values)
    assert plans[-1].statistics.simulations <= 300
    assert len(plans[-1].statistics.diversity) == plans[-1].statistics.generations > 1


def test_interruption_gives_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    env = TrapEnv(2, 3)
    observation, _ = env.reset(seed=0)
    planner = Planner(env, futures="actual", horizon=6, simulations=10_000)
    steps: Iterator[int] = iter(range(300))
    step = planner.simulation.step

    def interrupted(action: int) -> Any:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return step(action)

    monkeypatch.setattr(planner.simulation, "step", interrupted)
    plan = planner.plan(observation)
    assert plan.statistics.interrupted and plan.value >= 3.0
    with pytest.raises(KeyboardInterrupt):
        PlanningPolicy(planner).predict(observation)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"simulations": None}, "simulations"),
        ({"simulations": 0}, "simulations"),
        ({"seconds": -1.0}, "seconds"),
        ({"futures": "real"}, "futures"),
        ({"genetic_share": 2.0}, "genetic_share"),
        ({"population": 1}, "population"),
        ({"elites": 16}, "elites"),
        ({"exploration": np.nan}, "exploration"),
        ({"caution": -1.0}, "caution"),
        ({"trust": 2.0}, "trust"),
        ({"gamma": 0.0}, "gamma"),
        ({"discount_time": -1.0}, "discount_time"),
        ({"seed": -1}, "seed"),
        ({"model": "triage"}, "model"),
        ({"env": "Hospital-Rural-v0"}, "env"),
        ({"env": gym.make("Pendulum-v1")}, "env"),
    ],
)
def test_nonsense_is_refused_by_name(arguments: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}\b"):
        Planner(**{"env": TrapEnv(), **arguments})


def test_observation_is_asked_for() -> None:
    env, _ = hospital()
    with pytest.raises(ValueError, match="observation"):
        Planner(env, HEURISTICS["triage"](env)).plan()
