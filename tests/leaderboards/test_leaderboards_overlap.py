"""Overlap of prompts with problems, and of splits with each other."""

from leaderboards.stats.train_test_overlap import (
    OverlapIndex,
    OverlapText,
    grams,
    near_duplicates,
    words_of,
)

LONG = "A farmer has seventeen sheep and all but nine of them run away overnight"


def items(*texts: str, answers: tuple[str, ...] = ()) -> list[OverlapText]:
    padded = (*answers, *[""] * len(texts))
    return [OverlapText(f"t{n}", text, padded[n]) for n, text in enumerate(texts)]


def test_words_ignore_case_punctuation_and_form() -> None:
    assert words_of("The ﬁrst—SIGN, ２!") == ("the", "first", "sign", "2")
    assert words_of("3 + 4?") == ("3", "+", "4") != words_of("3 × 4?")


def test_a_short_text_is_one_run_of_all_it_has() -> None:
    assert list(grams(("a", "b"), 8)) == [("a", "b")]
    assert list(grams((), 8)) == []
    assert list(grams(("a", "b", "c"), 2)) == [("a", "b"), ("b", "c")]


def test_eight_words_in_a_row_are_a_repeated_problem_and_seven_are_not() -> None:
    index = OverlapIndex(items(LONG, "Something else altogether about the price of eleven apples"))
    eight = "Note: has seventeen sheep and all but nine of, as they say."
    assert index.of(eight).phrases == ("t0",)
    assert index.of("seventeen sheep and all but nine of").phrases == ()


def test_an_answer_counts_as_whole_words_and_only_if_it_is_long_enough() -> None:
    index = OverlapIndex(items("x y", "z w", answers=("204", "12")))
    assert index.of("The result is often 204.").answers == ("t0",)
    assert index.of("Try 2041 or 12.").answers == ()
    assert not index.of("Check every carry.").any


def test_the_form_of_a_world_and_of_its_root_prompt_is_no_overlap() -> None:
    form = "please work out the value of the following sum and state it"
    many = [OverlapText(str(n), f"{form} {n} plus {n * 7 % 50}", "") for n in range(40)]
    assert OverlapIndex(many).of(f"Always {form} clearly").phrases == ()
    alone = OverlapIndex(items(LONG, "b c"), [LONG])
    assert alone.of(LONG).phrases == ()


def test_twins_are_told_word_for_word_or_nearly() -> None:
    train = items(LONG, "How many primes lie between the squares of ten and of twelve")
    test = [
        OverlapText("s0", LONG.upper() + "!", ""),
        OverlapText("s1", "How many primes lie between the squares of ten and of twelve today", ""),
        OverlapText("s2", "Count the edges of a cube whose corners were all cut off evenly", ""),
    ]
    found = near_duplicates(train, test)
    assert found.same == (("t0", "s0"),)
    ((first, second, share),) = found.alike
    # Eight shingles of five words, and one more in the second: 8 / 9.
    assert (first, second, share) == ("t1", "s1", 8 / 9)


def test_problems_of_one_form_are_not_alike_by_their_form() -> None:
    form = "work out the value of this sum and state it on one line"
    train = [OverlapText(f"a{n}", f"{form}: {n} + {n + 1}", "") for n in range(30)]
    test = [OverlapText(f"b{n}", f"{form}: {n} + {n + 2}", "") for n in range(30)]
    assert near_duplicates(train, test) == near_duplicates([], [])
