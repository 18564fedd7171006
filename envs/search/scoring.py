"""Comparison of short answers: exact match and F1 after SQuAD normalisation.

The normalisation is the one of the SQuAD and HotpotQA evaluation scripts: lower case, no ASCII
punctuation, no English articles, single spaces. Three things are added: Unicode is composed first,
so that é is é however it was typed; an answer that consists of articles or punctuation alone
("The The", "?") is compared as it stands instead of being equal to every other such answer; and
Chinese and Japanese, which have no spaces, are compared sign by sign, without their punctuation.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

from envs.search.unspaced import UNSPACED

SEPARATOR = " | "
"""Between accepted spellings, where several stand in one reference answer."""

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED = frozenset({"yes", "no", "noanswer"})
# The second colon is the full-width one of Chinese and Japanese.
_MARK = re.compile(r"answer[ \t]*[:：]", re.IGNORECASE)
# Full-width Latin letters, digits and punctuation, written as everywhere else.
_WIDE = {sign: sign - 0xFEE0 for sign in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
_CJK_PUNCTUATION = re.compile(r"[\u3001-\u3003\u3008-\u301f\u30fb\uff61-\uff65「」『』·・“”‘’…]")
_AROUND = " \t*_`\"'“”"


def join_answers(answers: Sequence[str]) -> str:
    """Accepted spellings as one reference answer; raises ValueError where that would be unclear."""
    if not answers or any(not a.strip() or SEPARATOR in a for a in answers):
        raise ValueError(f"each answer must be text without '{SEPARATOR}', got {list(answers)}")
    return SEPARATOR.join(answers)


def accepted_answers(answer: str) -> tuple[str, ...]:
    """The accepted spellings of a reference answer."""
    return tuple(answer.split(SEPARATOR))


def normalise(text: str) -> str:
    """SQuAD's normal form, as above."""
    plain = unicodedata.normalize("NFC", text).translate(_WIDE).lower()
    if UNSPACED.search(plain):
        plain = UNSPACED.sub(r" \g<0> ", _CJK_PUNCTUATION.sub(" ", plain))
    bare = " ".join(_ARTICLES.sub(" ", plain.translate(_PUNCTUATION)).split())
    return bare or " ".join(plain.split())


def exact_match(stated: str, answer: str) -> bool:
    """True where the stated answer is one of the accepted ones; an empty one never is."""
    words = normalise(stated)
    return bool(words) and any(words == normalise(gold) for gold in accepted_answers(answer))


def f1(stated: str, answer: str) -> float:
    """The best harmonic mean of word precision and recall over the accepted answers, 0 … 1."""
    return max(_f1(normalise(stated), normalise(gold)) for gold in accepted_answers(answer))


def _f1(words: str, gold: str) -> float:
    # As HotpotQA: half a "yes" is worth nothing.
    if words != gold and (words in _CLOSED or gold in _CLOSED):
        return 0.0
    ours, theirs = words.split(), gold.split()
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0


def stated_answer(reply: str) -> str | None:
    """The text of a reply after its last "Answer:", up to the end of the line and without marks of
    emphasis or quotation around it; None where it says no "Answer:" or nothing follows it.
    """
    marks = list(_MARK.finditer(reply))
    if not marks:
        return None
    lines = [line.strip() for line in reply[marks[-1].end() :].splitlines()]
    bare = (line.strip(_AROUND) for line in lines)
    # Marks alone are an answer only where nothing else is: some question asks for "*".
    return next(filter(None, bare), None) or next(filter(None, lines), None)
