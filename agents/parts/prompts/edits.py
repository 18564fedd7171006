"""Edits to a prompt's principles: a diff against the parent, never a rewrite (E-SPL App. A).

Pure. Numbers are the parent's, from 1 on; all edits of one reply refer to the same numbering. The
text of an edit was written by a model: it is cleaned once, here, and is only ever text.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

MAX_WORDS = 64
"""Twice what the reference prompt asks for. Longer ones are refused, not cut: half a sentence may
say the opposite."""
MAX_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Add:
    """Append a principle."""

    principle: str

    def __str__(self) -> str:
        return f"ADD: {self.principle}"


@dataclass(frozen=True, slots=True)
class Modify:
    """Reword one principle."""

    number: int
    principle: str

    def __str__(self) -> str:
        return f"MODIFY {self.number}: {self.principle}"


@dataclass(frozen=True, slots=True)
class Merge:
    """Replace several principles by one, at the position of the first."""

    numbers: tuple[int, ...]
    principle: str

    def __str__(self) -> str:
        return f"MERGE {', '.join(map(str, self.numbers))}: {self.principle}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete one principle."""

    number: int

    def __str__(self) -> str:
        return f"REMOVE {self.number}"


Edit: TypeAlias = Add | Modify | Merge | Remove


def targets(edit: Edit) -> tuple[int, ...]:
    """The numbers of the principles an edit changes."""
    if isinstance(edit, Merge):
        return edit.numbers
    return () if isinstance(edit, Add) else (edit.number,)


def invalid(edit: Edit, existing: int) -> str:
    """The reason why an edit cannot be applied to that many principles; "" if it can."""
    outside = [n for n in targets(edit) if not 1 <= n <= existing]
    if outside:
        return f"there is no principle {outside[0]}"
    if isinstance(edit, Merge) and len(set(edit.numbers)) < 2:
        return "a merge needs two principles"
    return "" if isinstance(edit, Remove) else invalid_principle(edit.principle)


def invalid_principle(principle: str) -> str:
    """The reason why a text cannot be a principle; "" if it can."""
    if not any(c.isalnum() for c in principle):
        return "the principle is empty"
    # Small models copy the template's "<principle>".
    if principle.startswith("<") and principle.endswith(">"):
        return "the principle is a placeholder"
    if len(principle) > MAX_CHARACTERS or len(principle.split()) > MAX_WORDS:
        return f"the principle is over {MAX_WORDS} words or {MAX_CHARACTERS} characters"
    return ""


_MARKER = re.compile(
    r"<(?=[|｜])|(?<=[|｜])>"
    r"|<(?=/?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|think|tool_call)>)"
    r"|<(?=</?SYS>)|\[(?=/?(?:INST|SYSTEM_PROMPT)\])",
    re.IGNORECASE,
)

_QUOTES = ('""', "``", "“”")


def clean(text: str) -> str:
    """One line of printable text, with the markers of chat templates broken by a space.

    Our own policies never encode text as a control token. Endpoints are not under our control, so
    markers are kept from them.
    """
    # Control characters and line breaks could start a new message or a new numbered principle.
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = _MARKER.sub(lambda m: " >" if m[0] == ">" else f"{m[0]} ", text)
    return _unquoted(text)


def _unquoted(text: str) -> str:
    """The text without the bold and the quotation marks around it, however they are nested."""
    # Repeated until nothing changes: models write **"…"** and "**…**" alike.
    while True:
        bare = text.lstrip("*_ ").rstrip("* ")
        if len(bare) > 1 and bare[0] + bare[-1] in _QUOTES:
            bare = bare[1:-1]
        if bare == text:
            return bare
        text = bare


def apply(principles: Sequence[str], edits: Iterable[Edit]) -> tuple[tuple[str, ...], list[Edit]]:
    """The principles after the edits, and the edits that took effect.

    Numbers refer to `principles` as given. Of two edits of one principle the first is applied. An
    edit that repeats a principle, or changes nothing, is skipped.
    """
    # Deleted principles leave a gap until the end, so that numbers stay valid while editing.
    slots: list[str | None] = list(principles)
    added: list[str] = []
    done: list[Edit] = []
    edited: set[int] = set()
    for edit in edits:
        numbers = targets(edit)
        if invalid(edit, len(principles)) or edited & set(numbers):
            continue
        # A principle that is there already would only use up tokens.
        if not isinstance(edit, Remove):
            others = [p for i, p in enumerate(slots, 1) if p is not None and i not in numbers]
            unchanged = isinstance(edit, Modify) and slots[edit.number - 1] == edit.principle
            if unchanged or _key(edit.principle) in map(_key, [*others, *added]):
                continue
        for number in numbers:
            slots[number - 1] = None
        if isinstance(edit, Add):
            added.append(edit.principle)
        elif not isinstance(edit, Remove):
            slots[min(numbers) - 1] = edit.principle
        edited |= set(numbers)
        done.append(edit)  # reported, so that a log shows what took effect and what did not
    return tuple(p for p in (*slots, *added) if p is not None), done


def _key(principle: str) -> str:
    """Principles that differ in case or a full stop only are the same."""
    return principle.casefold().rstrip(".")


def last_of_each(edits: Iterable[Edit]) -> list[Edit]:
    """The edits without those whose principles a later edit changes too."""
    result: list[Edit] = []
    taken: set[int] = set()
    for edit in reversed(list(edits)):
        numbers = set(targets(edit))
        if not numbers & taken:
            result.append(edit)
            taken |= numbers
    return result[::-1]


def combine(edits: Iterable[Edit]) -> list[Edit]:
    """Edits proposed independently of each other, as one list in which none is lost.

    Of two rewordings of one principle the first stays; the second becomes an addition, which the
    aggregation can merge.
    """
    reworded: set[int] = set()
    result: list[Edit] = []
    for edit in edits:
        if isinstance(edit, Modify) and edit.number in reworded:
            edit = Add(edit.principle)
        elif isinstance(edit, Modify):
            reworded.add(edit.number)
        if edit not in result:
            result.append(edit)
    return result


def cleaned(edit: Edit) -> Edit:
    """The same edit with its text cleaned."""
    return edit if isinstance(edit, Remove) else replace(edit, principle=clean(edit.principle))
