"""Judging short answers by name: how a reply states one, and when it equals the reference.

A reply states its answer on the first line after its last "Answer:". Without that word the whole
reply is the answer, for `number` its last number. Mathematics is judged in `envs.grading.pool`.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from envs.fingerprint import canonical_text
from envs.grading import pool as grading_pool
from envs.verdict import Verdict

LONGEST_STATED = 200  # characters: a longer answer lists guesses
_READ = 4000  # characters at the end of a reply that are searched
_ANSWER = re.compile(r"answer\s*:", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])([-−+]?)([0-9]{1,40}(?:,[0-9]{3})*)(\.[0-9]{1,40})?(?![\w])")
_LETTER = re.compile(r"\(?([A-Za-z])\)?(?![A-Za-z])")
_NEXT = r"\s*(?:[,;/|&+]|\bor\b|\band\b|\s)+\s*"  # what stands between two guesses
_BETWEEN = re.compile(_NEXT, re.IGNORECASE)
_LETTERS = re.compile(
    rf"\(?[A-Za-z]\)?{_NEXT}(?:or\s+|and\s+)?\(?(?!a\b|I\b)[A-Za-z]\)?(?![\w'’])", re.IGNORECASE
)
_OR = re.compile(r"\bor\b|[;|/]", re.IGNORECASE)
_MOST_PARTS = 2  # "Paris, France" is one place


@dataclass(frozen=True, slots=True)
class AnswerGrader:
    """One way to judge: `reads` says whether a reference answer is of its kind."""

    about: str
    version: Callable[[], str]
    briefing: str
    reads: Callable[[str], bool]
    judge: Callable[[str, str], Verdict]
    oracle: Callable[[str], str] = "Answer: {}".format


def stated(reply: str) -> str:
    """The answer a reply states; "" where it states none."""
    end = reply[-_READ:]
    marks = list(_ANSWER.finditer(end))
    if not marks:
        return reply.strip() if len(reply) <= _READ else ""
    lines = end[marks[-1].end() :].lstrip(" \t\r\n*_:").splitlines()
    return lines[0].strip(" \t*_") if lines else ""


def number_in(text: str) -> Decimal | None:
    """The last number of a text: 1,000 is a thousand, a sign and decimals count."""
    found = list(_NUMBER.finditer(text[-_READ:]))
    if not found:
        return None
    sign, whole, part = found[-1].groups()
    try:
        value = Decimal(whole.replace(",", "") + (part or ""))
    except InvalidOperation:
        return None
    return -value if sign in ("-", "−") else value


def _letter(text: str) -> str:
    found = _LETTER.match(text.strip(" \t*_[]\"'"))
    return found[1].upper() if found else ""


def _folded(text: str) -> str:
    return canonical_text(unicodedata.normalize("NFKC", text).casefold())


def _verdict(right: bool) -> Verdict:
    return Verdict.right() if right else Verdict.wrong()


def _exact(reply: str, answer: str) -> Verdict:
    said = canonical_text(stated(reply))
    if not said:
        return Verdict.wrong("Wrong: the reply does not say Answer: and an answer.")
    return _verdict(said == canonical_text(answer))


def _number(reply: str, answer: str) -> Verdict:
    text = stated(reply) or reply
    said = number_in(text)
    if said is None:
        return Verdict.wrong("Wrong: the reply states no number as its answer.")
    *_, before, last = [None, *_NUMBER.finditer(text[-_READ:])]
    if before and last and _BETWEEN.fullmatch(text[-_READ:], before.end(), last.start()):
        return Verdict.wrong("Wrong: several numbers are stated as the answer.")
    return _verdict(said == number_in(answer))


def _choice(reply: str, answer: str) -> Verdict:
    said = _letter(stated(reply))
    if not said:
        return Verdict.wrong("Wrong: the reply does not say Answer: and a letter.")
    if _LETTERS.match(stated(reply).strip(" \t*_[]\"'")):
        return Verdict.wrong("Wrong: several letters are stated as the answer.")
    return _verdict(said == _letter(answer))


def _contains(reply: str, answer: str) -> Verdict:
    said = stated(reply)
    if not said:
        return Verdict.wrong("Wrong: the reply does not say Answer: and an answer.")
    if len(said) > max(LONGEST_STATED, 2 * len(answer)):
        return Verdict.wrong(f"Wrong: the answer is longer than {LONGEST_STATED} characters.")
    parts = [part for part in said.split(",") if part.strip()]
    if (_OR.search(said) and not _OR.search(answer)) or len(parts) > _MOST_PARTS + answer.count(
        ","
    ):
        return Verdict.wrong("Wrong: several answers are stated.")
    return _verdict(f" {_words(answer)} " in f" {_words(said)} ")


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", _folded(text))) or _folded(text)


def _math(reply: str, answer: str) -> Verdict:
    return grading_pool.shared_grader().grade(reply, answer)


def _something(answer: str) -> bool:
    return bool(answer.strip()) and "\n" not in answer.strip()


_LINE = "Think, then end with a line that says Answer: and"
GRADERS: dict[str, AnswerGrader] = {
    "choice": AnswerGrader(
        "one letter",
        lambda: "choice-2",
        f"{_LINE} the letter of the right choice.",
        lambda answer: bool(re.fullmatch(r"\(?[A-Za-z]\)?", answer.strip())),
        _choice,
    ),
    "contains": AnswerGrader(
        "the reference's words, in order, within a short answer",
        lambda: "contains-2",
        f"{_LINE} the answer in a few words.",
        lambda answer: _something(answer) and bool(_words(answer)),
        _contains,
    ),
    "exact": AnswerGrader(
        "the same text but for white space",
        lambda: "exact-1",
        f"{_LINE} the answer, and nothing after it.",
        _something,
        _exact,
    ),
    "math": AnswerGrader(
        "equal as mathematics, in \\boxed{}",
        grading_pool.grader_version,
        "Solve the problem. Reason step by step, then give the final answer, and only it, in"
        " \\boxed{}.",
        _something,
        _math,
        "\\boxed{{{}}}".format,
    ),
    "number": AnswerGrader(
        "the same number",
        lambda: "number-2",
        f"{_LINE} the number.",
        lambda answer: number_in(answer) is not None and len(answer) <= LONGEST_STATED,
        _number,
    ),
}
"""Every grader by name."""
