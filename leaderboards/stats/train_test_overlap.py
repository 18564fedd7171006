"""Overlap of a prompt with the tasks it is scored on, and between the splits.

Texts are compared as words and symbols: case, punctuation and spacing do not matter. Only ids and
counts are reported, never a task's text. Overlap is a reason to look, not a proof of leakage: a
phrase may be common, an answer a small number.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

GRAM = 8  # words in a row that are unlikely to agree by chance
SHINGLE = 5  # words in a row; problems are compared by their sets of shingles
ALIKE = 0.8  # share of common shingles from which problems are near duplicates
COMMON = 0.1  # a phrase in more than this share of the problems belongs to the task format
LEAST_ANSWER = 3  # characters; shorter answers occur in any text

Gram = tuple[str, ...]
_WORD = re.compile(r"""\w+|[^\w\s.,;:!?'"“”‘’()\[\]{}…–—]""")  # 3 + 4 is not 3 × 4


@dataclass(frozen=True, slots=True)
class OverlapText:
    """A problem: its id, text and answer ("" if unknown)."""

    id: str
    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """The overlap of a text with a set of items: the ids whose words or answer it repeats."""

    phrases: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def any(self) -> bool:
        """True if there is any overlap."""
        return bool(self.phrases or self.answers)


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Pairs of ids of identical problems, and of near duplicates with their share of shingles."""

    same: tuple[tuple[str, str], ...]
    alike: tuple[tuple[str, str, float], ...]


def words_of(text: str) -> Gram:
    """The words, numbers and symbols of a text, normalised, without punctuation."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def grams(words: Gram, size: int) -> Iterator[Gram]:
    """Every run of `size` words; a shorter text is one run."""
    if 0 < len(words) < size:
        yield words
    for start in range(len(words) - size + 1):
        yield words[start : start + size]


class OverlapIndex:
    """Items by their phrases and answers; phrases of the task format are left out."""

    def __init__(self, items: Sequence[OverlapText], form: Iterable[str] = ()) -> None:
        self.items = tuple(items)
        texts = [words_of(item.text) for item in items]
        # In a small split even a phrase of one problem alone would be more than that share.
        allowed = max(1, int(COMMON * len(items)))
        known = {gram for text in form for gram in grams(words_of(text), GRAM)}
        found: dict[Gram, list[str]] = {}
        for item, text in zip(items, texts, strict=True):
            for gram in set(grams(text, GRAM)):
                found.setdefault(gram, []).append(item.id)
        self._phrases = {
            gram: ids for gram, ids in found.items() if len(ids) <= allowed and gram not in known
        }
        self._sizes = sorted({len(gram) for gram in self._phrases})
        self._answers: dict[Gram, list[str]] = {}
        for item in items:
            answer = words_of(item.answer)
            if sum(map(len, answer)) >= LEAST_ANSWER:
                self._answers.setdefault(answer, []).append(item.id)
        self._answer_sizes = sorted({len(answer) for answer in self._answers})

    def of(self, text: str) -> Overlap:
        """The overlap of this text with the items."""
        words = words_of(text)
        phrases = _found(words, self._sizes, self._phrases)
        return Overlap(phrases, _found(words, self._answer_sizes, self._answers))


def _found(words: Gram, sizes: Sequence[int], index: dict[Gram, list[str]]) -> tuple[str, ...]:
    ids: dict[str, None] = {}
    for size in sizes:
        for start in range(len(words) - size + 1):
            ids |= dict.fromkeys(index.get(words[start : start + size], ()))
    return tuple(ids)


def near_duplicates(first: Sequence[OverlapText], second: Sequence[OverlapText]) -> NearDuplicates:
    """Problems of the second split that the first has too, identical or nearly."""
    left = [(item.id, words_of(item.text)) for item in first]
    right = [(item.id, words_of(item.text)) for item in second]
    whole = {words: id for id, words in left}
    same = [(whole[words], id) for id, words in right if words in whole]
    done = {id for _, id in same}
    rest = [(id, words) for id, words in right if id not in done]
    return NearDuplicates(tuple(same), tuple(_alike(left, rest)))


def _alike(
    left: Sequence[tuple[str, Gram]], right: Sequence[tuple[str, Gram]]
) -> Iterator[tuple[str, str, float]]:
    sets = [(id, set(grams(words, SHINGLE))) for id, words in (*left, *right)]
    seen = Counter(gram for _, shingles in sets for gram in shingles)
    # At least 2, because what near duplicates share stands in two problems.
    most = max(2, int(COMMON * len(sets)))
    form = {gram for gram, times in seen.items() if times > most}
    specific = [(id, shingles - form) for id, shingles in sets]
    by_gram: dict[Gram, list[int]] = {}
    for place, (_, shingles) in enumerate(specific[: len(left)]):
        for gram in shingles:
            by_gram.setdefault(gram, []).append(place)
    for id, shingles in specific[len(left) :]:
        shared = Counter(place for gram in shingles for place in by_gram.get(gram, ()))
        if not shared:
            continue
        # Of equals the first: the order of a set of texts differs from process to process.
        place, common = max(shared.items(), key=lambda pair: (pair[1], -pair[0]))
        share = common / len(shingles | specific[place][1])
        if share >= ALIKE:
            yield specific[place][0], id, share
