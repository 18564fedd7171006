"""A name within a short answer: the words of the reference in order, said and not denied.

Signs that make a name are part of it (C++ is not C, 1.5 is not 5), and numbers are compared as
numbers (1,000 is 1000). A list of guesses and a denial are wrong, whatever they contain.
"""

import re
import unicodedata

from envs.fingerprint import canonical_text
from envs.grading.doubt import DENIES, related
from envs.grading.stated_answer import LONGEST_STATED, boxed_or, stated, unwrapped
from envs.verdict import Verdict

_WORD = re.compile(
    r"[-−–](?=[0-9])[0-9][0-9,]*(?:\.[0-9]+)?|[0-9][0-9,]*(?:\.[0-9]+)?[^\W\d_]*"
    r"|[^\W_]+(?:['’][^\W_]+)*(?:\+\+|\+(?!\w)|#)?|(?<![\w.])\.[A-Za-z]+",
)
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_OR = re.compile(r"\bor\b|[;|/]", re.IGNORECASE)
_AND = re.compile(r"\band\b|&", re.IGNORECASE)
_AFTER = re.compile(
    r"\b(?:vs|versus|to|than|second|third|nor|minus|plus|times|squared|cubed|factorial|tenths?"
    r"|thousand|million|billion|trillion|hundred|dozen|lakh|crore)\b|\?|[+^→\\<>√×*=]",
    re.IGNORECASE,
)
_NUMBER_GOES_ON = re.compile(r"!|[%°]|\s?(?:k|m|bn|mn)\b|\s[-−–—]\s?[0-9]|\sor\s")
_SIGN_BEFORE = re.compile(
    r"(?:[-−–—+→\\^√×*=<>~]|\b(?:minus|negative|non))\s{0,2}[$€£]?$", re.IGNORECASE
)
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_HEDGE = re.compile(r"\b(?:maybe|perhaps|possibly|either)\b", re.IGNORECASE)
_ALIAS = re.compile(r"[A-Z0-9.,]{1,20}")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_DASH = re.compile(r"\s[-−–—]\s(?!the\b|an?\b)", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[a-z0-9)])[.!?][\"'”’)*]{0,3}\s+(?=[A-Z0-9])")
_ABBREVIATED = re.compile(
    r"(?:\b(?:St|Mr|Mrs|Ms|Dr|Jr|Sr|No|vs|Mt|Ft|Prof|Gen|Col|Lt|Inc|Co)|\b[A-Z])$"
)
_COMMENT = re.compile(r"(?:it|this|he|she|they|that|these|the|because|which|as)\b", re.IGNORECASE)
_APPOSITION = re.compile(
    r"\s{0,3}(?:the|a|an|which|who|in|of|is|because|since|as|located|born|also|where|whose)\b",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?<![^\W\d_])[^\W\d_]+\s[0-9]{1,2}")
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


def _shortest(word: str) -> str:
    """A number without zeros behind its point: 42.0 is 42."""
    if "." in word and _NUMBER.fullmatch(word):
        return word.rstrip("0").rstrip(".")
    return word


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


def _clear(said: str, answer: str) -> bool:
    """True if the answer stands as a whole, is not denied, and nothing makes another one of it."""
    text, name = folded(said), folded(answer)
    if (place := text.find(name)) < 0:
        return not DENIES.search(text) or DENIES.search(name) is not None
    before, after = text[:place], text[place + len(name) :]
    if DENIES.search(before) or related(before) or _SIGN_BEFORE.search(before):
        return False
    if before.count("(") > before.count(")") and before[: before.rindex("(")].strip():
        inside = said[said.rfind("(") + 1 :].strip(" .)*")
        if not _ALIAS.fullmatch(inside):
            return False
    if name[0].isdigit() and before.endswith(" to "):
        return False
    if after[:1] in ("-", "−", "–") and not _ISO_DATE.search(text):
        return False
    own = re.split(r"[,;(]|[.]\s", after, maxsplit=1)[0]
    if DENIES.search(own) or _AFTER.search(own) or _DASH.search(own):
        return False
    return not (name[-1].isdigit() and _NUMBER_GOES_ON.match(after))


def _several(said: str, answer: str) -> bool:
    """True if more answers than one are stated."""
    if _OR.search(said) and not _OR.search(answer):
        return True
    if len(_HEDGE.findall(said)) > 1:
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
    wanted, spoken = words_of(answer), words_of(said)
    if len(wanted) == 1 and _NUMBER.fullmatch(wanted[0]):
        wanted, spoken = [_shortest(word) for word in wanted], [_shortest(word) for word in spoken]
    if not wanted or _place(spoken, wanted) < 0:
        return Verdict.wrong()
    if not _clear(said, answer):
        return Verdict.wrong("Wrong: the answer is denied, or other words make another of it.")
    return Verdict.right()
