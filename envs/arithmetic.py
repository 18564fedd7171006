"""Mental arithmetic for a very small language model: trained on short expressions, tested on
longer ones too. Every problem is made here; nothing is downloaded.

The problems, exactly:

- two operands: a + b with 0 ≤ a ≤ b ≤ 20; a - b with 0 ≤ b ≤ a ≤ 20; a * b with 0 ≤ a ≤ b ≤ 10;
- three operands: a ± b ± c with 1 ≤ a, b, c ≤ 9 and no negative result.

The 528 two-operand expressions are put in the order of their SHA-256: the first 100 belong to
test, the next 100 to validation, the other 328 to train. Test also has the first 100 of the
three-operand expressions in that order, so 200 tasks, shuffled together by the same hash.
"""

import hashlib
import re
from collections import deque
from collections.abc import Mapping
from functools import cache

from envs.text_env import Problem, Split, TextEnv
from envs.verdict import Verdict

GENERATOR_VERSION = "1"
_HELD_OUT = 100
_NUMBER = re.compile(r"(?<![\w.])([-−]?)([0-9]+(?:,[0-9]{3})*)(?:\.([0-9]+))?(?!\d)")
_ANSWER = re.compile(r"answer\s*:", re.IGNORECASE)


def _two_operands() -> dict[str, int]:
    # Each pair in one order only: 3 + 5 in train would give 5 + 3 in test away.
    sums = {f"{a} + {b}": a + b for b in range(21) for a in range(b + 1)}
    differences = {f"{a} - {b}": a - b for a in range(21) for b in range(a + 1)}
    products = {f"{a} * {b}": a * b for b in range(11) for a in range(b + 1)}
    return sums | differences | products


def _three_operands() -> dict[str, int]:
    digits, signs = range(1, 10), ((1, "+"), (-1, "-"))
    made = {
        f"{a} {p} {b} {q} {c}": a + s * b + t * c
        for a in digits
        for s, p in signs
        for b in digits
        for t, q in signs
        for c in digits
    }
    return {text: value for text, value in made.items() if value >= 0}


def _shuffle_key(expression: str) -> str:
    text = f"arithmetic {GENERATOR_VERSION}: {expression}"
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def problems(split: Split) -> tuple[Problem, ...]:
    """All tasks of a split, in order."""
    short, long = _two_operands(), _three_operands()
    ordered = sorted(short, key=_shuffle_key)
    chosen = {
        "test": ordered[:_HELD_OUT] + sorted(long, key=_shuffle_key)[:_HELD_OUT],
        "validation": ordered[_HELD_OUT : 2 * _HELD_OUT],
        "train": ordered[2 * _HELD_OUT :],
    }[split]
    values = short | long
    return tuple(
        Problem(f"arithmetic:{text.replace(' ', '')}", f"What is {text}?", str(values[text]))
        for text in sorted(chosen, key=_shuffle_key)
    )


def stated_number(reply: str) -> str | None:
    """The integer a reply states, as canonical digits; None where it states none.

    It is the last number on the first line of text after the last "Answer:"; without "Answer:"
    the last number of the reply. ASCII digits only; 1,000 and 12.0 are whole numbers, 12.5 is
    not. No digit string is converted, so its length costs nothing.
    """
    marks = list(_ANSWER.finditer(reply))
    if marks:
        lines = reply[marks[-1].end() :].lstrip(" \t\r\n*_:").splitlines()
        reply = lines[0] if lines else ""
    last = deque(_NUMBER.finditer(reply), maxlen=1)
    if not last or (last[0][3] or "").strip("0"):
        return None
    found = last[0]
    digits = found[2].replace(",", "").lstrip("0") or "0"
    return f"-{digits}" if found[1] and digits != "0" else digits


class Arithmetic(TextEnv):
    """Sums, differences and products of small numbers; tested on longer expressions as well."""

    name = "arithmetic"
    system_prompt = "Work out the result. End with a line that says Answer: and the number."
    reply_tokens = 64
    grader_version = "integer-1"

    def size(self, split: Split) -> int:
        """328, 100 and 200 tasks."""
        return len(problems(split))

    def problem(self, split: Split, index: int) -> Problem:
        """One expression."""
        return problems(split)[index]

    def judge(self, reply: str, answer: str) -> Verdict:
        """Compare integers exactly."""
        stated = stated_number(reply)
        if stated is None:
            return Verdict.wrong("Wrong: the reply states no whole number as its answer.")
        return Verdict.right() if stated == answer else Verdict.wrong()

    def oracle(self) -> str:
        """The form that the system prompt asks for."""
        return f"Answer: {self.current.answer}"

    def rules(self) -> str:
        """Only the generator's version: how replies are read is in the grader's."""
        return f"generator {GENERATOR_VERSION}"

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """By construction."""
        return {"train": 328, "validation": _HELD_OUT, "test": 2 * _HELD_OUT}
