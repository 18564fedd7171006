"""The identity of problems: the same content from any source, in any order, is the same data.

Spelling that cannot matter (line breaks, Unicode composition, surrounding dollar signs, leading
zeros) is normalised away; everything else changes the hash. Ids and sources do not enter.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable

_PAIRS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_WHOLE = re.compile(r"(-?)(?:0(?=[0-9]))*+([0-9]++)(?:\.0+)?")


def canonical_text(text: str) -> str:
    """NFC, white space collapsed to single spaces, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def canonical_answer(answer: str) -> str:
    """`canonical_text` without mathematics delimiters around it; 033 and 33.0 are 33."""
    text = canonical_text(answer)
    for opening, closing in _PAIRS:
        inner = text[len(opening) : len(text) - len(closing)]
        # "$1$ and $2$" begins and ends with the sign too, but is no single formula.
        if text == opening + inner + closing and opening not in inner:
            text = inner.strip()
    whole = _WHOLE.fullmatch(text)
    return f"{whole[1]}{whole[2]}" if whole else text


def digest(value: object) -> str:
    """The SHA-256 of a JSON value, as hexadecimal."""
    # ASCII with escapes: a lone surrogate can be hashed too.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def problem_key(text: str) -> str:
    """The hash of a problem's text: its identity, whatever its source called it."""
    return digest(canonical_text(text))


def content_fingerprint(pairs: Iterable[tuple[str, str]]) -> str:
    """One hash of (problem, answer) pairs; their order does not matter, their number does."""
    return digest(sorted([canonical_text(p), canonical_answer(a)] for p, a in pairs))
