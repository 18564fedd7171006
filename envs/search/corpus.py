"""A corpus of passages to search in."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from envs.errors import DataMalformed
from envs.fingerprint import canonical_text

CACHED_FROM = 2000
"""Passages from which an index is worth a place on the disk: below, building takes no time."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A short text with a title; `id` is what questions call it."""

    id: str
    title: str
    text: str

    @property
    def indexed(self) -> str:
        """The text that is searched."""
        return f"{self.title}. {self.text}"


class Corpus:
    """Passages in an order of their own: by title, then text, whatever order they came in.

    Raises DataMalformed where there are none or an id occurs twice.
    """

    def __init__(self, passages: Iterable[Passage]) -> None:
        # The id comes last: it decides only between passages of equal title and text.
        self.passages = tuple(sorted(passages, key=lambda p: (p.title, p.text, p.id)))
        self.ids = {passage.id for passage in self.passages}
        if not self.passages:
            raise DataMalformed("The corpus has no passages; expected at least one.")
        if len(self.ids) != len(self.passages):
            twice, _ = Counter(p.id for p in self.passages).most_common(1)[0]
            raise DataMalformed(f"The passage id '{twice}' occurs twice; each must occur once.")

    def __len__(self) -> int:
        return len(self.passages)

    @cached_property
    def fingerprint(self) -> str:
        """The hash of all titles and texts; ids and order do not enter."""
        whole = hashlib.sha256()
        for passage in self.passages:
            line = [canonical_text(passage.title), canonical_text(passage.text)]
            whole.update(json.dumps(line).encode() + b"\n")
        return whole.hexdigest()
