"""A name within a short answer: the words of the reference in order, said and not denied.

Signs that make a name are part of it (C++ is not C, 1.5 is not 5), and numbers are compared as
numbers (1,000 is 1000). A list of guesses and a denial are wrong, whatever they contain.
"""

import re
import unicodedata

from envs.fingerprint import canonical_text
from envs.grading.stated_answer import LONGEST_STATED, boxed_or, stated, unwrapped
from envs.verdict import Verdict

_WORD = re.compile(
    r"[-−–](?=[0-9])[0-9][0-9,]*(?:\.[0-9]+)?|[0-9][0-9,]*(?:\.[0-9]+)?[^\W\d_]*"
    r"|[^\W_]+(?:['’][^\W_]+)*(?:\+\+|\+(?!\w)|#)?|(?<![\w.])\.[A-Za-z]+",
)
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_OR = re.compile(r"\bor\b|[;|/]", re.IGNORECASE)
_AND = re.compile(r"\band\b|&", re.IGNORECASE)
_DENIAL = re.compile(
    r"\b(?:not|never|neither|nor|isn['’]t|wasn['’]t|aren['’]t|cannot|can['’]t|except|but not|no)\b"
    r"|\b(?:anything|anyone|anywhere|everything|all) but\b|\bother than\b|\brather than\b"
    r"|\binstead of\b|\bunlike\b|\bfar from\b",
    re.IGNORECASE,
)
_DENIES_NEXT = re.compile(
    r"\s{0,3}(?:is|was|are|were)?\s?(?:not|isn['’]t|wasn['’]t)\b", re.IGNORECASE
)
_SENTENCE = re.compile(r"(?<=[a-z0-9)])[.!?][\"'”’)*]{0,3}\s+(?=[A-Z0-9])")
_ABBREVIATED = re.compile(
    r"(?:\b(?:St|Mr|Mrs|Ms|Dr|Jr|Sr|No|vs|Mt|Ft|Prof|Gen|Col|Lt|Inc|Co)|\b[A-Z])$"
)
_COMMENT = re.compile(r"(?:it|this|he|she|they|that|these|the|because|which|as)\b", re.IGNORECASE)
_APPOSITION = re.compile(
    r"\s{0,3}(?:the|a|an|which|who|in|of|is|because|since|as|located|born|also|where|whose)\b",
    re.IGNORECASE,
)
_DATE = re.compile(r"[^\W\d_]+\s[0-9]{1,2}")
_MOST_PARTS = 2  # "Paris, France" is one place


def folded(text: str) -> str:
    """A text in compatible signs, small letters and single spaces."""
    return canonical_text(unicodedata.normalize("NFKC", text).casefold())


def words_of(text: str) -> list[str]:
    """The words of a text, with the signs that are part of them; numbers without groups."""
    found = _WORD.findall(folded(text).replace("−", "-").replace("–", "-"))
    return [
        word.replace(",", "") if _GROUPED.fullmatch(word) else word.strip(",") for word in found
    ]


def _split_sentences(text: str) -> list[str]:
    parts, start = [], 0
    for end in _SENTENCE.finditer(text):
        if not _ABBREVIATED.search(text[start : end.start()]):
            parts.append(text[start : end.start()])
            start = end.end()
    return [*parts, text[start:]]


def _place(said: list[str], answer: list[str]) -> int:
    """Where the answer's words begin among those that were said; -1 where they do not occur."""
    for place in range(len(said) - len(answer) + 1):
        if said[place : place + len(answer)] == answer:
            return place
    return -1


def _denied(said: str, answer: str) -> bool:
    """Whether the answer is denied: a denial before it, or right behind it."""
    if _DENIAL.search(answer):
        return False
    text, name = folded(said), folded(answer)
    place = text.find(name)
    before = text[:place] if place >= 0 else text
    if _DENIAL.search(before):
        return True
    return place >= 0 and _DENIES_NEXT.match(text[place + len(name) :]) is not None


def _several(said: str, answer: str) -> bool:
    """Whether more answers than one are stated."""
    if _OR.search(said) and not _OR.search(answer):
        return True
    first, *comments = _split_sentences(said)
    if (
        any(not _COMMENT.match(comment) for comment in comments)
        and len(_split_sentences(answer)) == 1
    ):
        return True
    numbers = re.sub(r"(?<=[0-9]),(?=[0-9]{3})", "", first)
    parts = [part for part in numbers.split(",") if part.strip()]
    named = [part for place, part in enumerate(parts) if not place or not _APPOSITION.match(part)]
    if len(named) > _MOST_PARTS + answer.count(","):
        return True
    if any(_AND.search(part) for part in named) and not _AND.search(answer):
        return True
    wanted = words_of(answer)
    if len(named) > 1 and "," not in answer and _place(words_of(named[0]), wanted) < 0:
        return not (_DATE.search(named[0]) or _place(words_of(named[0]), wanted[:1]) >= 0)
    return False


def judge_contained(reply: str, answer: str) -> Verdict:
    """Judge if the short answer contains the reference, denies nothing and guesses once."""
    said = unwrapped(boxed_or(stated(reply)))
    if not said:
        return Verdict.wrong("Wrong: the reply does not say Answer: and an answer.")
    if len(said) > max(LONGEST_STATED, 2 * len(answer)):
        return Verdict.wrong(f"Wrong: the answer is longer than {LONGEST_STATED} characters.")
    if folded(said) == folded(answer):
        return Verdict.right()
    if _several(said, answer):
        return Verdict.wrong("Wrong: several answers are stated.")
    wanted = words_of(answer)
    if not wanted or _place(words_of(said), wanted) < 0:
        return Verdict.wrong()
    if _denied(said, answer):
        return Verdict.wrong("Wrong: the answer is denied.")
    return Verdict.right()
