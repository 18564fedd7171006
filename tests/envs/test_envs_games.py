import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

from envs.errors import EnvError
from envs.games.guess_number import GuessNumber, halving, stated_guess
from envs.games.knowledge import best_question, draw_knowledge
from envs.games.twenty_questions import TwentyQuestions, said

SPLITS = ("train", "validation", "test")


def played(env, seed, replies=None):
    """The reward, the number of turns and the last info; the oracle's replies where none given."""
    env.reset(seed=seed)
    total, turns = 0.0, 0
    while True:
        reply = env.oracle() if replies is None else replies[min(turns, len(replies) - 1)]
        _, reward, terminated, truncated, info = env.step(reply)
        total += reward
        turns += 1
        if terminated or truncated:
            return total, turns, info


@pytest.mark.parametrize("made", [GuessNumber, TwentyQuestions])
@pytest.mark.parametrize("split", SPLITS)
def test_games_pass_gymnasiums_checker(made, split):
    check_env(made(split=split), skip_render_check=True)


@pytest.mark.parametrize("made", [GuessNumber, TwentyQuestions])
@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_earns_one_on_every_task_and_nonsense_nothing(made, split):
    env = made(split=split)
    for seed in range(env.size(split)):
        reward, _, info = played(env, seed)
        assert (reward, info["success"], info["outcome"]) == (1.0, True, "scored")
    assert played(env, 0, ["🙂 bananas"])[0] == 0.0


@pytest.mark.parametrize("made", [GuessNumber, TwentyQuestions])
def test_no_game_is_in_two_splits(made):
    env = made()
    ids = [[env.problem(s, i).id for i in range(env.size(s))] for s in SPLITS]
    assert len(set().union(*ids)) == sum(map(len, ids)) == 350


@pytest.mark.parametrize("made", [GuessNumber, TwentyQuestions])
def test_the_test_split_hides_the_answer_until_and_after_the_end(made):
    env = made(split="test")
    _, info = env.reset(seed=0)
    answer = env.current.answer
    assert info["answer"] == ""
    _, _, info = played(env, 0, ["Guess: blick"])
    assert (info["answer"], info["feedback"]) == ("", "Wrong.")
    trained = made(split="train")
    _, _, info = played(trained, 0, ["Guess: nothing"])
    assert info["feedback"].endswith(f"The correct answer is {info['answer']}.")
    assert answer


def test_an_abandoned_game_leaves_nothing_behind():
    env = GuessNumber()
    for _ in range(2):
        env.reset(seed=0)
        env.step("Guess: 1")
    env.reset(seed=0)
    assert env.step("Guess: 1")[0].endswith("7 guesses left.")
    assert played(env, 0)[0] == 1.0
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("Guess: 1")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.oracle()


def test_the_text_of_a_number_game_is_pinned():
    env = GuessNumber(split="train")
    assert env.reset(seed=0)[0] == (
        "I think of a whole number from 889 to 903. You have 8 guesses; 4 are enough."
    )
    assert env.current.answer == "899"
    assert env.step("Guess: 896")[0] == "Higher than 896. 7 guesses left."
    assert env.step("Guess: 901")[0] == "Lower than 901. 6 guesses left."
    assert env.step("hm")[0] == (
        "That is no number. Reply with Guess: and a number. 5 guesses left."
    )


@pytest.mark.parametrize(
    ("guesses", "reward"), [(1, 1.0), (4, 1.0), (5, 4 / 5), (8, 4 / 8), (9, 0.0)]
)
def test_later_finds_are_worth_less(guesses, reward):
    env = GuessNumber(split="train")
    env.reset(seed=0)
    replies = ["Guess: 889"] * (guesses - 1) + ["Guess: 899"]
    earned, turns, info = played(env, 0, replies)
    assert (earned, turns) == (reward, min(guesses, 8))
    assert info["success"] == (reward == 1.0)


@pytest.mark.parametrize(("numbers", "guesses"), [(3, 2), (4, 3), (15, 4), (16, 5), (100, 7)])
def test_halving_needs_so_many_guesses(numbers, guesses):
    assert halving(numbers) == guesses


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("Guess: 12", 12),
        ("12", 12),
        ("Between 10 and 20, so\nGuess: 15", 15),
        ("Guess: 7\nGuess: 8", 8),
        ("Guess: 7 or 8", 8),
        ("guess :9.", 9),
        ("Guess: twelve", None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("9" * 100_000, None),
        ("١٢", None),
    ],
)
def test_the_stated_guess(reply, number):
    assert stated_guess(reply) == number


def test_wider_ranges_can_be_kept_for_the_test():
    env = GuessNumber(split="test", numbers=7, test_numbers=63)
    assert env.reset(seed=0)[0].endswith("You have 12 guesses; 6 are enough.")
    assert GuessNumber(numbers=7, test_numbers=63).reset(seed=0)[0].endswith("3 are enough.")
    assert env.fingerprint() != GuessNumber().fingerprint()
    with pytest.raises(EnvError, match="numbers must be a whole number from 3 to 100000, not 2"):
        GuessNumber(numbers=2)


def test_the_fewest_questions_are_counted_right():
    four = [frozenset(x) for x in ("", "a", "b", "ab")]
    assert best_question(four) == ("a", 2)
    assert best_question([frozenset("a"), frozenset("b"), frozenset("c")]) == ("a", 2)
    # Each attribute tells one thing from all others: one question fewer than there are things.
    assert best_question([frozenset(x) for x in "abcde"])[1] == 4
    assert best_question([frozenset("a")]) == ("", 0)


def test_knowledge_tells_all_things_apart_and_follows_its_seed():
    import random

    drawn = draw_knowledge(random.Random(1), 24, 6)
    assert len(set(drawn.facts.values())) == len(drawn.things) == 24
    assert drawn == draw_knowledge(random.Random(1), 24, 6)
    assert drawn != draw_knowledge(random.Random(2), 24, 6)


def test_questions_are_answered_from_the_knowledge():
    env = TwentyQuestions()
    env.reset(seed=0)
    meant = env.current.answer
    for word in env.knowledge.attributes:
        expected = "Yes." if word in env.knowledge.facts[meant] else "No."
        assert env.step(f"Question: is it {word}?")[0].startswith(expected)


@pytest.mark.parametrize(
    "reply",
    [
        "Question: is it purple?",
        "Question: is it not big?",
        "Question: is it big or cold?",
        "is it big?",
        "",
    ],
)
def test_what_is_no_question_is_a_lost_turn(reply):
    env = TwentyQuestions()
    env.reset(seed=0)
    assert env.step(reply)[0] == (
        "Ask Question: is it, and one of the words, or Guess: a thing. 20 turns left."
    )


def test_a_right_guess_is_worth_less_after_more_turns_than_needed():
    env = TwentyQuestions()
    env.reset(seed=0)
    meant, best = env.current.answer, played(env, 0)[1]
    assert best == 4
    for questions in (0, 3, 5, 20):
        replies = ["Question: is it big?"] * questions + [f"Guess: {meant}"]
        reward, turns, _ = played(env, 0, replies)
        assert turns == questions + 1
        assert reward == pytest.approx(min(1.0, env._best / turns))
    reward, turns, info = played(env, 0, ["Question: is it big?"])
    assert (reward, turns, info["success"]) == (0.0, 21, False)


def test_a_wrong_guess_or_two_things_end_the_game():
    env = TwentyQuestions()
    env.reset(seed=0)
    meant = env.current.answer
    other = next(thing for thing in env.knowledge.things if thing != meant)
    assert played(env, 0, [f"Guess: {other}"])[:2] == (0.0, 1)
    assert played(env, 0, [f"Guess: {other} {meant}"])[:2] == (0.0, 1)
    assert played(env, 0, [f"Guess: It is {meant.upper()}!"])[:2] == (1.0, 1)


def test_untold_knowledge_is_the_same_in_every_task_and_split():
    env = TwentyQuestions(split="train", told=False)
    assert " is " not in env.reset(seed=0)[0].split("\n", 1)[-1].replace("is meant", "").replace(
        "it is", ""
    )
    assert env.knowledge == TwentyQuestions(split="test", told=False).knowledge
    assert any(line.startswith(env.things and env.current.answer) for line in env.truths)


def test_environments_of_a_family_differ_in_knowledge_only():
    one, two = TwentyQuestions(world_seed=1), TwentyQuestions(world_seed=2)
    assert one.fingerprint() != two.fingerprint()
    assert one.family_fingerprint() == two.family_fingerprint()
    assert one.family == "twenty_questions"
    assert one.family_fingerprint() != TwentyQuestions(things=6).family_fingerprint()


def test_the_last_mark_of_a_reply_counts():
    assert said("Question: is it big?\nNo. Guess: Wug") == ("guess", ("wug",))
    assert said("hello") == ("", ())


@pytest.mark.parametrize(
    "options", [{"things": 3}, {"attributes": 4}, {"questions": 21}, {"told": 1}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(EnvError, match="must be"):
        TwentyQuestions(**options)


@pytest.mark.parametrize("made", [GuessNumber, TwentyQuestions])
@pytest.mark.parametrize("reply", ["", "9" * 100_000, "Guess: " * 20_000, "λ中🙂\ud800\x00"])
def test_any_unicode_and_a_hundred_kilobytes_are_heard(made, reply):
    env = made()
    env.reset(seed=0)
    _, reward, _, _, info = env.step(reply)
    assert (reward, info["outcome"]) == (0.0, "scored")


def test_all_that_is_said_in_a_game_fits_a_small_model():
    for env in (GuessNumber(), TwentyQuestions()):
        longest = 0
        for seed in range(env.size("train")):
            spoken = [env.reset(seed=seed)[0]]
            while True:
                spoken.append(env.oracle())
                told, _, over, _, _ = env.step(spoken[-1])
                spoken.append(told)
                if over:
                    break
            longest = max(longest, len(" ".join(spoken).split()))
        assert longest < 200
