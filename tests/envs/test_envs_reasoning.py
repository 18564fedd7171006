import importlib.util
import math
import re
from collections import Counter
from types import SimpleNamespace

import pytest

import envs
from envs.errors import EnvError, UnknownEnv, UnknownOption
from envs.integrations.extras import ExtraMissing, require
from envs.integrations.reasoning_gym.env import (
    ReasoningGym,
    stated_answer,
    summaries,
    tasks,
    verdict_of_score,
)
from envs.integrations.reasoning_gym.streams import StreamEntry
from envs.integrations.reasoning_gym.worker import boxnet_plan, is_plain_arithmetic, rush_hour_moves
from envs.integrations.split_shares import assign_splits, belongs_to_split
from envs.text_env import SPLITS
from envs.verdict import HUNG
from envs.workers.json_worker import SPENT, WorkerFailed

MISSING = importlib.util.find_spec("reasoning_gym") is None
needs_package = pytest.mark.skipif(MISSING, reason="not run: reasoning-gym is not installed")


def earned(env, seed, reply):
    env.reset(seed=seed)
    _, reward, _, _, info = env.step(reply)
    return reward, info["outcome"]


def test_without_the_package_the_message_says_what_to_type(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    wanted = (
        r"reasoning_gym/gcd' needs the package reasoning-gym.*pip install '\.\[reasoning-gym\]'"
    )
    with pytest.raises(ExtraMissing, match=wanted):
        ReasoningGym(task="gcd")
    with pytest.raises(ExtraMissing):
        tasks()
    with pytest.raises(EnvError):
        require("nothing", "nothing", "nothing")


@pytest.mark.parametrize(
    ("reply", "line", "lines"),
    [
        ("Answer: 12", "12", "12"),
        ("answer : a\nb\n", "a", "a\nb"),
        ("Answer: 1\nNo.\nAnswer: 2", "2", "2"),
        ("**Answer:** 12", "12", "12"),
        ("**Answer: 12**", "12", "12"),
        ("Let me see.\n12\n", "12", "Let me see.\n12"),
        ("Answer:\n```\n1 2\n3 4\n```\nThat is it.", "1 2", "1 2\n3 4"),
        ("Answer:", "", ""),
        ("", "", ""),
        (" \n\t", "", ""),
        ("<answer>12</answer>", "<answer>12</answer>", "<answer>12</answer>"),
    ],
)
def test_the_stated_answer(reply, line, lines):
    assert stated_answer(reply, lines=False) == line
    assert stated_answer(reply, lines=True) == lines


@pytest.mark.parametrize(
    ("score", "outcome", "reward", "success"),
    [
        (1.0, "scored", 1.0, True),
        (0.0, "scored", 0.0, False),
        (0.25, "scored", 0.25, False),
        (math.nan, "unscored", 0.0, False),
        (-1.0, "unscored", 0.0, False),
        (2.0, "unscored", 0.0, False),
    ],
)
def test_scores_become_verdicts_and_what_is_no_score_does_not(score, outcome, reward, success):
    verdict = verdict_of_score(score, "w")
    assert (verdict.outcome, verdict.reward, verdict.success) == (outcome, reward, success)


@pytest.mark.parametrize("text", ["x**2/2 + C", "sin(x)*exp(-x)", "(6+61)*94-4", "log(x + 1), 2"])
def test_arithmetic_is_harmless(text):
    assert is_plain_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "eval(1)",
        "open(0)",
        "x.__class__",
        "'a'",
        "[1]",
        "lambda x: x",
        "exit()",
    ],
)
def test_what_could_be_executed_is_not(text):
    assert not is_plain_arithmetic(text)


def test_shares_divide_all_content():
    for number in range(200):
        assert sum(belongs_to_split(f"content {number}", split) for split in SPLITS) == 1


def test_few_contents_are_dealt_out_to_all_splits():
    assert set(assign_splits("abc").values()) == set(SPLITS)
    assert assign_splits("abc") == assign_splits("cba")
    counts = Counter(assign_splits(map(str, range(80))).values())
    assert counts == {"train": 40, "validation": 10, "test": 30}


def test_cars_are_slid_out_of_the_way():
    # The red car (A) has one car (B) in front of it, which fits below.
    board = "oooooo" + "ooBooo" + "AABooo" + "oooooo" + "oooooo" + "oooooo"
    assert rush_hour_moves(board) == "B+2 A+4"


def test_boxes_are_carried_to_their_targets():
    state = {"0.5_0.5": ["box_red"], "0.5_1.5": [], "1.5_0.5": [], "1.5_1.5": ["target_red"]}
    assert boxnet_plan(state) == [
        {"Agent[0.5, 0.5]": "move(box_red, square[1.5, 0.5])"},
        {"Agent[1.5, 0.5]": "move(box_red, square[1.5, 1.5])"},
        {"Agent[1.5, 1.5]": "move(box_red, target_red)"},
    ]


@needs_package
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "task",
    ["chain_sum", "gcd", "n_queens", "graph_color", "boxnet", "rush_hour", "countdown", "acre"],
)
def test_the_oracle_earns_one_by_the_packages_own_scorer(task, split):
    env = ReasoningGym(task=task, split=split)
    for seed in range(3):
        env.reset(seed=seed)
        assert earned(env, seed, env.oracle()) == (1.0, "scored")
        assert earned(env, seed, "") == (0.0, "scored")


@needs_package
def test_every_task_but_two_is_an_environment():
    listed = tasks()
    assert len(listed) >= 100 and "codeio" not in listed and "composite" not in listed
    with pytest.raises(UnknownEnv, match="its tasks run programs that come as data"):
        ReasoningGym(task="codeio")
    with pytest.raises(UnknownEnv, match=r"no task 'chain_sums'\. Did you mean 'chain_sum'\?"):
        ReasoningGym(task="chain_sums")


@needs_package
@pytest.mark.parametrize("task", ["chain_sum", "coin_flip", "propositional_logic"])
def test_no_question_is_in_two_splits(task):
    options = {"train_size": 40, "validation_size": 10, "test_size": 30, "test_level": 0}
    env = ReasoningGym(task=task, **options)
    texts = [{env.problem(s, i).text for i in range(env.size(s))} for s in SPLITS]
    assert len(set().union(*texts)) == sum(map(len, texts)) and all(texts)


@needs_package
def test_the_test_is_harder_than_the_training():
    train, test = ReasoningGym(task="chain_sum"), ReasoningGym(task="chain_sum", split="test")
    lengths = [
        max(len(w.reset(seed=seed)[0]) for seed in range(w.size(w.split))) for w in (train, test)
    ]
    assert lengths[0] < lengths[1]
    even = ReasoningGym(task="chain_sum", test_level=0)
    assert even.fingerprint() != train.fingerprint() == test.fingerprint()


@needs_package
def test_difficulty_parameters_are_options():
    env = ReasoningGym(
        task="chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=1, level=1
    )
    assert all(re.search(r"\D\d [+-] \d =", env.reset(seed=s)[0]) for s in range(5))
    assert env.fingerprint() != ReasoningGym(task="chain_sum", level=1).fingerprint()
    with pytest.raises(UnknownOption, match=r"no option 'max_term'. Did you mean 'max_terms'"):
        ReasoningGym(task="chain_sum", max_term=2)
    with pytest.raises(EnvError, match="refuses level 0 with"):
        ReasoningGym(task="chain_sum", min_terms=0)
    with pytest.raises(EnvError, match="level must be a whole number from 0"):
        ReasoningGym(task="chain_sum", level=-1)


@needs_package
@pytest.mark.parametrize(
    "task", ["string_insertion", "spiral_matrix", "binary_matrix", "n_queens", "countdown"]
)
def test_replies_are_never_executed(task, tmp_path):
    trace = tmp_path / "trace"
    env = ReasoningGym(task=task)
    attacks = [
        f"[open({str(trace)!r}, 'w')]",
        f"__import__('pathlib').Path({str(trace)!r}).touch()",
        f"__import__('os').system('touch {trace}')",
        "sum(1 for _ in [exit()])",
    ]
    for attack in attacks:
        reward, outcome = earned(env, 0, f"Answer: {attack}")
        assert reward < 0.02 and outcome == "scored"
    assert not trace.exists()


@needs_package
def test_a_reply_on_which_the_scorer_twice_does_not_end_is_wrong(monkeypatch):
    monkeypatch.setattr("envs.integrations.reasoning_gym.env.SCORE_SECONDS", 2.0)
    env = ReasoningGym(task="countdown")
    env.reset(seed=0)
    _, reward, _, _, info = env.step("Answer: 9**9**9**9")
    assert (info["outcome"], reward, info["success"]) == ("scored", 0.0, False)
    assert "the scorer does not end: it took over 2 s of CPU, twice" in info["feedback"]
    test = ReasoningGym(task="countdown", split="test")
    test.reset(seed=0)
    assert test.step("Answer: 9**9**9**9")[4]["feedback"] == HUNG
    env.reset(seed=0)
    assert earned(env, 0, env.oracle()) == (1.0, "scored")


@pytest.mark.parametrize("failing", ["reference", "worker"])
def test_a_scorer_that_fails_by_itself_leaves_the_reply_unscored(monkeypatch, failing):
    def ask(job, seconds, cpu_seconds):
        code = SPENT if failing == "reference" else 1
        raise WorkerFailed("it died", code)

    pool = SimpleNamespace(ask=ask)
    monkeypatch.setattr("envs.integrations.reasoning_gym.env.worker_pool", lambda: pool)
    env = object.__new__(ReasoningGym)
    env.name, env.puzzle, env.parameters, env.split = "reasoning_gym/x", "x", {}, "train"
    env.levels = {"train": 0}
    entry = StreamEntry("train:0", "question", "7", 0, 0)
    verdict = env.score("Answer: 8", entry)
    assert verdict.outcome == "unscored" and not verdict.hung
    assert ("reference answer alone" in verdict.feedback) == (failing == "reference")


@needs_package
def test_a_scorer_that_calls_every_answer_right_is_not_trusted():
    env = ReasoningGym(task="game_of_life_halting")
    env.reset(seed=0)
    right = env.current.answer
    wrong = {"True": "False", "False": "True"}[right]
    assert earned(env, 0, f"Answer: {wrong}") == (0.0, "scored")
    assert earned(env, 0, f"Answer: {right}") == (1.0, "scored")


@needs_package
@pytest.mark.parametrize("task", ["prime_factorization", "gcd", "pool_matrix"])
@pytest.mark.parametrize("reply", ["🙂 bananas", "Answer: " + "9" * 100_000, "λ\ud800\x00", "{[("])
def test_answers_no_scorer_can_read_are_wrong_and_not_unscored(task, reply):
    env = ReasoningGym(task=task)
    reward, outcome = earned(env, 0, reply)
    assert outcome == "scored" and reward < 0.02


@needs_package
def test_a_stored_reply_is_scored_again_without_an_episode():
    env = ReasoningGym(task="gcd")
    answer = env.task(2).answer
    assert env.regrade(2, f"Answer: {answer}").success
    assert not env.regrade(2, f"Answer: {answer}0").success


@needs_package
def test_every_task_is_described_in_words_of_its_own():
    found = {name: summaries()[name] for name in tasks()}
    assert min(map(len, found.values())) > 8
    assert envs.describe("reasoning_gym/gcd").summary == found["gcd"]
    assert len(set(found.values())) > 0.9 * len(found)
