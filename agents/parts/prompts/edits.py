"""Edits to a prompt's principles: a diff against the parent, never a rewrite (E-SPL App. A).

Pure. Numbers are the parent's, from 1 on; all edits of one reply refer to the same numbering. Text
in edits was written by a model: it is cleaned here once, and is only ever text.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

MAX_WORDS = 64
"""Twice what the reference prompt asks for; longer ones are refused, not cut."""
MAX_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Add:
    """A new principle, after the others."""

    principle: str

    def __str__(self) -> str:
        return f"ADD: {self.principle}"


@dataclass(frozen=True, slots=True)
class Modify:
    """Other words for one principle."""

    number: int
    principle: str

    def __str__(self) -> str:
        return f"MODIFY {self.number}: {self.principle}"


@dataclass(frozen=True, slots=True)
class Merge:
    """One principle in place of several; it stands where the first of them stood."""

    numbers: tuple[int, ...]
    principle: str

    def __str__(self) -> str:
        return f"MERGE {', '.join(map(str, self.numbers))}: {self.principle}"


@dataclass(frozen=True, slots=True)
class Remove:
    """One principle less."""

    number: int

    def __str__(self) -> str:
        return f"REMOVE {self.number}"


Edit: TypeAlias = Add | Modify | Merge | Remove


def touched(edit: Edit) -> tuple[int, ...]:
    """The numbers of the principles an edit changes."""
    if isinstance(edit, Merge):
        return edit.numbers
    return () if isinstance(edit, Add) else (edit.number,)


def problem(edit: Edit, existing: int) -> str:
    """Why an edit cannot be applied to that many principles; "" if it can."""
    outside = [n for n in touched(edit) if not 1 <= n <= existing]
    if outside:
        return f"there is no principle {outside[0]}"
    if isinstance(edit, Merge) and len(set(edit.numbers)) < 2:
        return "a merge needs two principles"
    return "" if isinstance(edit, Remove) else flaw(edit.principle)


def flaw(principle: str) -> str:
    """Why a text cannot be a principle; "" if it can."""
    if not any(c.isalnum() for c in principle):
        return "the principle is empty"
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
    """One line of visible text. What a chat template might take for a marker is spaced apart.

    Policies encode text so that it never becomes a control token; endpoints are not under our
    control, so markers do not reach them in the first place.
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = _MARKER.sub(lambda m: " >" if m[0] == ">" else f"{m[0]} ", text)
    return _bare(text)


def _bare(text: str) -> str:
    """Without the bold and the quotation marks around it, however they are nested."""
    while True:
        bare = text.lstrip("*_ ").rstrip("* ")
        if len(bare) > 1 and bare[0] + bare[-1] in _QUOTES:
            bare = bare[1:-1]
        if bare == text:
            return bare
        text = bare


def apply(principles: Sequence[str], edits: Iterable[Edit]) -> tuple[tuple[str, ...], list[Edit]]:
    """The principles after the edits, and which edits took effect.

    All numbers mean `principles` as given. Where two edits want the same principle the first has
    it. What is already there, or would change nothing, is passed over.
    """
    slots: list[str | None] = list(principles)
    added: list[str] = []
    done: list[Edit] = []
    taken: set[int] = set()
    for edit in edits:
        numbers = touched(edit)
        if problem(edit, len(principles)) or taken & set(numbers):
            continue
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
        taken |= set(numbers)
        done.append(edit)
    return tuple(p for p in (*slots, *added) if p is not None), done


def _key(principle: str) -> str:
    return principle.casefold().rstrip(".")


def together(edits: Iterable[Edit]) -> list[Edit]:
    """Edits proposed independently, so that none is lost: of two rewordings of one principle the
    first stands, and the second is added beside it, for the aggregation to merge.
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
