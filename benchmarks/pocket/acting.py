"""Text about acting: system prompts, questions, and workers who follow the prompt's principles,
guess signs that it does not explain, and make errors in long chains.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from envs.calibration_language import (
    MEANINGS,
    Convention,
    distinguishing_pairs,
    meaning_sentence,
    question,
    step_line,
)
from harness.types import SystemPrompt

FOLLOWS = 0.98
"""How often a worker follows a principle that tells a sign's meaning; otherwise it guesses."""
SLIPS = (0.01, 0.35)
"""How often the result of a chain's first step is wrong, and of each later one."""
BRIEFINGS = (
    "Each sign stands for an operation on two digits. Work from left to right, keep the last "
    "digit of every result, and end with Answer: and the digit.",
    "Work step by step. End with Answer: and the digit.",
    "Signs are operations on two digits. End with Answer: and one digit.",
    "Find the result.",
    "",
)
ASIDES = ("Work step by step.", "Work from left to right.", "End with Answer: and the digit.")

RECITE = "Say what each sign means."

Chain = tuple[int, list[tuple[str, int]]]


@dataclass(frozen=True)
class Attempt:
    """A worker's reply, what it says each sign means, and the result it comes to."""

    text: str
    said: dict[str, str]
    result: int


def chain(rng: random.Random, convention: Convention, steps: int) -> Chain:
    """A question of that many steps; single steps tell their sign's meaning from all others."""
    sign = rng.choice(list(convention))
    first, second = rng.choice(distinguishing_pairs(convention[sign]))
    made, current = [(sign, second)], MEANINGS[convention[sign]](first, second)
    for _ in range(steps - 1):
        sign, digit = rng.choice(list(convention)), rng.randrange(10)
        made.append((sign, digit))
        current = MEANINGS[convention[sign]](current, digit)
    return first, made


def attempt(
    rng: random.Random, asked: Chain, told: Convention, follows: float = FOLLOWS
) -> Attempt:
    """One worker's completion for a question, given these meanings."""
    current, steps = asked
    lines: list[str] = []
    said: dict[str, str] = {}
    for position, (sign, digit) in enumerate(steps):
        if sign not in said:
            follow = sign in told and rng.random() < follows
            said[sign] = told[sign] if follow else rng.choice(list(MEANINGS))
        result = MEANINGS[said[sign]](current, digit)
        if rng.random() < SLIPS[min(position, 1)]:
            result = rng.choice([d for d in range(10) if d != result])
        lines.append(step_line(sign, said[sign], current, digit, result))
        current = result
    return Attempt("\n".join([*lines, f"Answer: {current}"]), said, current)


def told_by(principles: Sequence[str]) -> dict[str, str]:
    """Meanings stated by principles; of two about one sign the later one counts."""
    words = [p.rstrip(".").split() for p in principles]
    return {w[0]: w[3] for w in words if len(w) == 4 and w[1:3] == ["means", "the"]}


def principles(rng: random.Random, convention: Convention) -> list[str]:
    """Some of a convention as principles, in any order, now and then with others among them."""
    known = max(rng.randint(0, len(convention)), rng.randint(0, len(convention)))
    listed = [meaning_sentence(s, m) for s, m in rng.sample(sorted(convention.items()), known)]
    if listed and rng.random() < 0.08:  # a second opinion
        listed.append(meaning_sentence(rng.choice(listed).split()[0], rng.choice(list(MEANINGS))))
    if rng.random() < 0.1:
        listed.insert(rng.randint(0, len(listed)), rng.choice(ASIDES))
    return list(dict.fromkeys(listed))


def system_prompt(rng: random.Random, listed: Sequence[str]) -> str:
    """Principles as the harness puts them, or as sentences of the briefing."""
    briefing = rng.choice(BRIEFINGS)
    if rng.random() < 0.3:
        return " ".join([briefing, *listed]).strip()
    return SystemPrompt(briefing, tuple(listed)).text


def recital(rng: random.Random, convention: Convention) -> list[tuple[str, str]]:
    """The meaning of each sign, repeated in another order."""
    told = [meaning_sentence(*pair) for pair in convention.items()]
    talk = [("system", SystemPrompt(rng.choice(BRIEFINGS[1:]), tuple(told)).text)]
    for _ in range(4):
        talk += [("user", RECITE), ("assistant", " ".join(rng.sample(told, len(told))))]
    return talk


def lesson(rng: random.Random, convention: Convention) -> list[tuple[str, str]]:
    """A conversation of one to four questions, as (role, text); no sign is guessed twice."""
    listed = principles(rng, convention)
    told, guessed = told_by(listed), set[str]()
    talk = [("system", text)] if (text := system_prompt(rng, listed)) else []
    for _ in range(rng.choice((1, 2, 3, 4))):
        asked = chain(rng, convention, rng.choice((1, 1, 1, 2, 2, 3, 4)))
        unknown = {sign for sign, _ in asked[1]} - told.keys()
        if unknown & guessed:
            continue
        guessed |= unknown
        talk += [("user", question(*asked)), ("assistant", attempt(rng, asked, told).text)]
    return talk
