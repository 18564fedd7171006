"""Find a hidden number by asking: the smallest game in which a strategy can be learnt.

A task is a range of numbers and a secret in it; every guess is answered with higher or lower.
Halving the range finds the secret among n numbers with at most ⌊log₂ n⌋ + 1 guesses. The reward:

- 1 for the secret within that many guesses;
- that many divided by the guesses used, for later finds;
- 0 where the guesses, twice as many as halving needs, are used up.

No range of one split is used in another. What states no number is a lost guess.
"""

import random
import re
from collections.abc import Mapping
from functools import cache

from envs.errors import EnvError
from envs.games.multi_turn_env import MultiTurnEnv
from envs.text_env import SPLITS, Problem, Split
from envs.verdict import Verdict

GENERATOR_VERSION = "1"
_HIGHEST = 999
_SIZES: Mapping[Split, int] = {"train": 200, "validation": 50, "test": 100}
_MARK = re.compile(r"guess\s*:", re.IGNORECASE)
# No part of a word, of a decimal or of a negative number; at most twelve digits.
_NUMBER = re.compile(r"(?<![\w.,−-])([0-9]{1,12})(?![\w]|[.,][0-9])")


def stated_guess(reply: str) -> int | None:
    """The last whole number on the line after the last "Guess:"; without one, of the reply."""
    marks = list(_MARK.finditer(reply))
    if marks:
        reply = (reply[marks[-1].end() :].strip().splitlines() or [""])[0]
    found = _NUMBER.findall(reply)
    return int(found[-1]) if found else None


def halving(numbers: int) -> int:
    """The guesses that halving needs at most among so many numbers."""
    # ⌊log₂ n⌋ + 1 in whole numbers, which no rounding of a logarithm can get wrong.
    return numbers.bit_length()


@cache
def _lows(widest: int) -> tuple[int, ...]:
    """The starts of ranges in a fixed order; the splits take theirs from it one after another."""
    # Then there are 750 starts or more, and the splits need 350 together.
    highest = max(_HIGHEST, 4 * widest)
    lows = list(range(1, highest - widest + 2))
    random.Random(f"guess_number {GENERATOR_VERSION} {widest}").shuffle(lows)
    return tuple(lows)


class GuessNumber(MultiTurnEnv):
    """Find a number by guessing; each guess is told higher or lower, and few guesses count.

    Args:
        numbers (3 to 100000): Size of the range that a secret number lies in.
        test_numbers (3 to 100000): Size of the range in the test split; unset: the same as numbers.
    """

    name = "guess_number"
    system_prompt = (
        "Find the secret number with few guesses. Reply with Guess: and one number. After each"
        " guess you are told whether the secret is higher or lower."
    )
    reply_tokens = 24
    grader_version = "halving-1"

    def __init__(
        self, *, split: Split = "train", numbers: int = 15, test_numbers: int | None = None
    ) -> None:
        super().__init__(split=split)
        self.numbers = _checked("numbers", numbers)
        self.test_numbers = _checked(
            "test_numbers", numbers if test_numbers is None else test_numbers
        )
        self._low = self._high = self._guesses = 0

    def size(self, split: Split) -> int:
        """200, 50 and 100 tasks."""
        return _SIZES[split]

    def problem(self, split: Split, index: int) -> Problem:
        """A range of its own, and a secret in it."""
        numbers = self._numbers(split)
        before = {"train": 0, "validation": 200, "test": 250}[split]
        # The wider range decides for all splits: only in one common order do they share no start.
        low = _lows(max(self.numbers, self.test_numbers))[before + index]
        high = low + numbers - 1
        text = f"guess_number {GENERATOR_VERSION} secret {low} {numbers}"
        secret = random.Random(text).randint(low, high)
        best = halving(numbers)
        asked = (
            f"I think of a whole number from {low} to {high}. You have {2 * best} guesses;"
            f" {best} are enough."
        )
        return Problem(f"guess_number:{low}-{high}", asked, str(secret))

    def start_episode(self, problem: Problem) -> None:
        """Nothing guessed yet."""
        span = problem.id.partition(":")[2].split("-")
        self._low, self._high = int(span[0]), int(span[1])
        self._guesses = 0

    def respond(self, reply: str) -> str | Verdict:
        """One guess."""
        secret, stated = int(self.current.answer), stated_guess(reply)
        self._guesses += 1
        best = halving(self._numbers(self.split))
        if stated == secret:
            return self._found(best)
        left = 2 * best - self._guesses
        if not left:
            return Verdict.wrong(f"Not found in {2 * best} guesses.")
        counted = f"{left} guess{'' if left == 1 else 'es'} left."
        if stated is None:
            return f"That is no number. Reply with Guess: and a number. {counted}"
        if stated < secret:
            self._low = max(self._low, stated + 1)
            return f"Higher than {stated}. {counted}"
        self._high = min(self._high, stated - 1)
        return f"Lower than {stated}. {counted}"

    def _found(self, best: int) -> Verdict:
        if self._guesses <= best:
            return Verdict.right(f"Found with {self._guesses} of {best} guesses.")
        told = f"Found, but with {self._guesses} guesses where {best} are enough."
        return Verdict("scored", best / self._guesses, False, told)

    def judge(self, reply: str, answer: str) -> Verdict:
        """A single guess on its own."""
        return Verdict.right() if stated_guess(reply) == int(answer) else Verdict.wrong()

    def reference_reply(self) -> str:
        """Halve what is left."""
        return f"Guess: {(self._low + self._high) // 2}"

    def rules(self) -> str:
        """Ranges are in the tasks; how many guesses there are follows from them."""
        return f"generator {GENERATOR_VERSION}, {self.numbers} and {self.test_numbers} numbers"

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """By construction."""
        return {split: _SIZES[split] for split in SPLITS}

    def _numbers(self, split: Split) -> int:
        return self.test_numbers if split == "test" else self.numbers


def _checked(option: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 3 <= value <= 100_000:
        raise EnvError(f"{option} must be a whole number from 3 to 100000, not {value!r}.")
    return value
