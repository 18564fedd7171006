"""Does a prompt repeat the tasks it is scored on, and do the splits repeat each other?

Texts are compared as words and signs: case, punctuation and spacing do not matter. What is reported
are ids and counts, never a task's text. Overlap is a reason to look, not a verdict: a phrase may be
common, an answer a small number.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

GRAM = 8  # words in a row that are no coincidence
SHINGLE = 5  # words in a row by which two problems are compared
ALIKE = 0.8  # of their shingles shared: near duplicates
COMMON = 0.1  # a phrase in more than this share of the problems is the world's form
LEAST_ANSWER = 3  # characters; shorter answers stand in any text

Gram = tuple[str, ...]
_WORD = re.compile(r"""\w+|[^\w\s.,;:!?'"“”‘’()\[\]{}…–—]""")  # 3 + 4 is not 3 × 4


@dataclass(frozen=True, slots=True)
class OverlapText:
    """A problem: its id, text and answer ("" where it is not known)."""

    id: str
    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """What one text shares with a set of items: the ids whose words or whose answer it repeats."""

    phrases: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self.phrases or self.answers)


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Problems of one split that another has too: ids in pairs, the second one's share alike."""

    same: tuple[tuple[str, str], ...]
    alike: tuple[tuple[str, str, float], ...]


def words_of(text: str) -> Gram:
    """The words, numbers and signs of a text, in one case and one form, without punctuation."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def grams(words: Gram, size: int) -> Iterator[Gram]:
    """Every run of so many words; a shorter text is one run of all it has."""
    if 0 < len(words) < size:
        yield words
    for start in range(len(words) - size + 1):
        yield words[start : start + size]


class OverlapIndex:
    """Items by their phrases and answers; phrases that are the world's form are left out."""

    def __init__(self, items: Sequence[OverlapText], form: Iterable[str] = ()) -> None:
        self.items = tuple(items)
        texts = [words_of(item.text) for item in items]
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
        """What this text repeats of them."""
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
    """Problems of the second that the first has, word for word or nearly."""
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
    most = max(2, int(COMMON * len(sets)))
    form = {gram for gram, times in seen.items() if times > most}
    told = [(id, shingles - form) for id, shingles in sets]
    by_gram: dict[Gram, list[int]] = {}
    for place, (_, shingles) in enumerate(told[: len(left)]):
        for gram in shingles:
            by_gram.setdefault(gram, []).append(place)
    for id, shingles in told[len(left) :]:
        shared = Counter(place for gram in shingles for place in by_gram.get(gram, ()))
        if not shared:
            continue
        place, common = max(shared.items(), key=lambda pair: (pair[1], -pair[0]))
        share = common / len(shingles | told[place][1])
        if share >= ALIKE:
            yield told[place][0], id, share
