"""Parse edits from free text written by a model. Never raises and takes bounded time.

One edit per line, in the form `edits.py` prints, between any other text:

    ADD: <principle>
    MODIFY 3: <principle>
    MERGE 2, 5: <principle>
    REMOVE 4
    NONE

Bullets, bold, case, "principle 3" and code fences are tolerated, and so is JSON with `operation`
or `option` keys. Rejected edits are returned with the reason.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from agents.parts.prompts.edits import Add, Edit, Merge, Modify, Remove, cleaned, invalid

MAX_CHARACTERS = 20_000
"""Characters parsed; a model that has not come to its edits by then never does."""
MAX_DOCUMENTS = 16
"""Positions at which a JSON document is tried, so that brackets cannot make it slow."""

KINDS = ("ADD", "MODIFY", "MERGE", "REMOVE")

_PRINCIPLE = r"[^\r\n]{1,400}"
_FORMS = {
    "ADD": f"ADD: {_PRINCIPLE}",
    "MODIFY": f"MODIFY [1-9][0-9]?: {_PRINCIPLE}",
    "MERGE": f"MERGE [1-9][0-9]?(, [1-9][0-9]?){{1,5}}: {_PRINCIPLE}",
    "REMOVE": "REMOVE [1-9][0-9]?",
}


def grammar(kinds: Collection[str], limit: int) -> str:
    """Regular expression for constrained decoding: up to `limit` edits of these kinds, or NONE."""
    line = "(" + "|".join(_FORMS[kind] for kind in KINDS if kind in kinds) + ")"
    return f"(NONE|{line}(\\n{line}){{0,{max(limit, 1) - 1}}})\\n?"


GRAMMAR = grammar(KINDS, 8)


@dataclass(frozen=True, slots=True)
class ParsedEdits:
    """The applicable edits of a reply, and the others with the reason why they are not.

    `recognised` is False for a parse failure: the reply holds neither an edit nor the word NONE.
    """

    edits: tuple[Edit, ...]
    rejected: tuple[str, ...]
    recognised: bool

    @property
    def proposed(self) -> int:
        """The number of edits in the reply, applicable or not."""
        return len(self.edits) + len(self.rejected)


def parse_edits(
    text: str, existing: int, limit: int, kinds: Collection[str] = KINDS
) -> ParsedEdits:
    """At most `limit` different edits of these kinds to a list of `existing` principles."""
    text = text[:MAX_CHARACTERS]
    found = list(_from_json(text)) or list(_from_lines(text))
    edits: list[Edit] = []
    rejected: list[str] = []
    for edit in dict.fromkeys(cleaned(edit) for edit in found):
        kind = type(edit).__name__.upper()
        reason = invalid(edit, existing)
        if kind not in kinds:
            reason = f"{kind} is not asked for here"
        elif not reason and len(edits) == limit:
            reason = f"more than {limit} edits"
        if reason:
            rejected.append(f"{str(edit)[:80]} ({reason})")
        else:
            edits.append(edit)
    none = any(line.strip(" *_`.-").upper() == "NONE" for line in text.splitlines())
    return ParsedEdits(tuple(edits), tuple(rejected), bool(found) or none)


# Bounded repetition and no nested quantifiers: the text is untrusted, and a pattern that backtracks
# could be made to run for hours.
_KEYWORD = re.compile(
    r"[ \t>*_`#•–—.()\[\]0-9-]{0,16}"
    r"(add|modify|update|merge|combine|remove|delete)\b",
    re.IGNORECASE,
)
_PIECE = re.compile(  # of what stands between the keyword and the principle
    r"(?P<number>[0-9]{1,6})"
    r"|(?P<end>:|->|=>|→|–|—|-)"
    r"|(?P<filler>[\s*_`#\[\](),&+.]+|(?:new|the|principles?|rules?|numbers?|no|ids?|and|with)\b)",
    re.IGNORECASE,
)
_SYNONYMS = {"UPDATE": "MODIFY", "COMBINE": "MERGE", "DELETE": "REMOVE"}


def _from_lines(text: str) -> Iterator[Edit]:
    lines = [line for line in text.splitlines() if line.strip()]
    for position, line in enumerate(lines):
        keyword = _KEYWORD.match(line)
        if keyword is None:
            continue
        numbers, rest, ended = _numbers(line, keyword.end())
        following = lines[position + 1] if position + 1 < len(lines) else ""
        # Small models often break the line after "ADD:".
        if ended and not rest.strip(" *_`") and not _KEYWORD.match(following):
            rest = following.lstrip(" \t>*-•")
        kind = _canonical(keyword[1])
        # "Remove 4 from both sides" is mathematics, "REMOVE 4" an edit.
        complete = ended or (kind == "REMOVE" and not rest.strip(" .*_`"))
        edit = _edit(kind, numbers, rest) if complete else None
        if edit is not None:
            yield edit


def edits_before_cut(text: str) -> str:
    """The complete lines of a list of edits that was cut off; "" if other text is among them.

    The last line of such a reply is half an edit. Other text may be a thought whose end, and whose
    conclusion, are missing: an edit that a thought only considers must not be made.
    """
    complete = text[:MAX_CHARACTERS].splitlines()[:-1]
    for line in complete:
        bare = line.strip(" \t*_`.-")
        if bare and bare.upper() != "NONE" and not _KEYWORD.match(line):
            return ""
    return "\n".join(complete)


def _canonical(word: str) -> str:
    return _SYNONYMS.get(word.upper(), word.upper())


def _numbers(line: str, start: int) -> tuple[list[int], str, bool]:
    """(numbers from `start` on, text after them, True if a colon or dash ended them)."""
    numbers: list[int] = []
    while piece := _PIECE.match(line, start):
        start = piece.end()
        if piece["end"]:
            return numbers, line[start:], True
        if piece["number"]:
            numbers.append(int(piece["number"]))
    return numbers, line[start:], False


def _edit(kind: str, numbers: list[int], principle: str) -> Edit | None:
    """The edit these parts make, or None. "ADD 4: …" is an addition: models number their lines."""
    if kind == "ADD":
        return Add(principle)
    if kind == "MERGE" and numbers:
        return Merge(tuple(dict.fromkeys(numbers)), principle)
    if kind == "MODIFY" and len(numbers) == 1:
        return Modify(numbers[0], principle)
    if kind == "REMOVE" and len(numbers) == 1:
        return Remove(numbers[0])
    return None


_VERBS = ("operation", "option", "action", "op", "type")
_TEXTS = ("principle", "experience", "new_principle", "text", "content")
_NUMBERS = ("numbers", "number", "merged_from", "modified_from", "ids", "id", "index")


def _from_json(text: str) -> Iterator[Edit]:
    decoder = json.JSONDecoder()
    start = 0
    for _ in range(MAX_DOCUMENTS):
        opening = re.compile(r"[\[{]").search(text, start)
        if opening is None:
            return
        try:
            document, start = decoder.raw_decode(text, opening.start())
        except (ValueError, RecursionError):
            start = opening.end()
            continue
        yield from _from_document(document)


def _from_document(document: object) -> Iterator[Edit]:
    waiting = [document]
    while waiting:  # a stack, because nesting in untrusted JSON can exceed the recursion limit
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, dict):
            edit = _from_object(value)
            if edit is not None:
                yield edit
            else:
                waiting.extend(reversed(value.values()))


def _from_object(value: dict[str, object]) -> Edit | None:
    verb = next((v for k in _VERBS if isinstance(v := value.get(k), str)), "")
    principle = next((v for k in _TEXTS if isinstance(v := value.get(k), str)), "")
    kind = _canonical(verb.strip())
    return _edit(kind, _json_numbers(value), principle) if kind in KINDS else None


def _json_numbers(value: dict[str, object]) -> list[int]:
    """The principles that an object names: 3, "3", "G3" or a list of these."""
    given = next((value[k] for k in _NUMBERS if k in value), [])
    items = given if isinstance(given, list) else [given]
    texts = [str(i)[:100] for i in items if isinstance(i, int | str) and not isinstance(i, bool)]
    return [int(digits) for digits in re.findall(r"[0-9]{1,6}", " ".join(texts))]
