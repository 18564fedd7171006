"""Words that deny an answer, or make another answer of it, by where they stand.

The lists are closed: the graders of short answers take none of these words next to an answer.
"""

import re

DENIES = re.compile(
    r"\b(?:not|never|neither|nor|cannot|without|excluding|excludes?|excluded|except|eliminat\w{1,4}"
    r"|wrong|incorrect|false|untrue|invalid|impossible|mistaken?|hardly|doubt\w{0,4}|unlikely"
    r"|rejected|fails?|failed|lacks?|lacking|unlike|ruled? out|rather than|instead of|other than"
    r"|far from|anything but|no)\b"
    r"|\b(?:all|every\w{0,6}|any\w{0,6})\s(?:\w{1,20}\s)?but\b|n['’]t\b",
    re.IGNORECASE,
)
RELATES = re.compile(
    r"\b(?:than|before|after|until|till|since|over|under|above|below|beyond|nearly|almost"
    r"|at least|at most|(?<!adds )(?<!add )up to|minus|plus|times|twice|thrice|half|double"
    r"|triple|negative"
    r"|either|between|from|vs|versus|vs\.|against|next to|near)\s+(?:the\s+|a\s+|an\s+)?[$€£¥]?$",
    re.IGNORECASE,
)
_OF = re.compile(
    r"(?:\b([a-z]{1,20})\s+|%\s?)?\bof\s+(?:the\s+|a\s+|an\s+)?[$€£¥]?$", re.IGNORECASE
)
_NAMES_TEXT = (
    "age amount answer average capital city cost country county depth difference distance"
    " duke earnings element height island isle kingdom language length maximum mean median"
    " minimum month mount name number output population price profit province rate republic"
    " result river score solution speed state sum temperature time total town value village"
    " weight width year"
)
_NAMES = frozenset(_NAMES_TEXT.split())


def related(before: str) -> bool:
    """True if the words right before an answer make another one of it ("half of", "than")."""
    before = before[-80:]
    if RELATES.search(before):
        return True
    of = _OF.search(before)
    return of is not None and (of[1] or "").lower() not in _NAMES
