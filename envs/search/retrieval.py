"""Finding passages for a query: BM25 by the bm25s library, or an embedding model on request.

An index is built once: for a corpus of some size it is kept on disk (`shelf`), and all environments
of a process share one. Equal scores are put in the corpus's own order, and that order comes from
the passages alone, so the same query finds the same passages on every machine. A query whose words
occur nowhere finds nothing.
"""

import re
import threading
import unicodedata
from collections import OrderedDict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from envs.errors import DataMalformed, EnvError
from envs.fingerprint import digest
from envs.search.corpus import CACHED_FROM, Corpus, Passage
from envs.search.disk_cache import cached_folder
from envs.search.unspaced import segments

_SETTINGS = {"method": "lucene", "k1": 1.5, "b": 0.75, "idf_method": "lucene"}
_TOKENS = (
    "2: NFKD without marks, casefold, words, the library's English stop words; signs and pairs of "
    "signs of Chinese and Japanese"
)
_WORD = re.compile(r"\w+")
_MOST_SHARED = 8
_FORMS = "bm25, or dense:MODEL with a folder or a Hub name"


class Retriever(Protocol):
    """A search method. `identity` names it in fingerprints."""

    identity: str

    def search(self, query: str, count: int) -> tuple[Passage, ...]:
        """At most `count` passages, best first."""
        ...


def words(text: str) -> list[str]:
    """Words as they are indexed and asked for: accents and case do not matter.

    Chinese and Japanese, which have no spaces, are segmented.
    """
    apart = unicodedata.normalize("NFKD", text)
    bare = "".join(c for c in apart if not unicodedata.combining(c)) if apart != text else text
    stop = _stop_words()
    found = (word for word in _WORD.findall(bare.casefold()) if word not in stop)
    return [segment for word in found for segment in segments(word)]


_stop: frozenset[str] | None = None


def _stop_words() -> frozenset[str]:
    global _stop
    if _stop is None:
        from bm25s.stopwords import STOPWORDS_EN

        _stop = frozenset(STOPWORDS_EN)
    return _stop


def best(scores: NDArray[np.float32], count: int) -> list[int]:
    """The positions of the `count` highest scores above 0 of `scores` [passage], best first; equal
    ones in order of position.
    """
    hits = np.flatnonzero(scores > 0)
    if len(hits) > count:
        # Only what reaches the last place is sorted: in a large corpus many passages share a word
        # with a query. Ties with the last place are kept, so that position decides between them.
        least = np.partition(scores[hits], len(hits) - count)[len(hits) - count]
        hits = hits[scores[hits] >= least]
    ranked = hits[np.argsort(-scores[hits], kind="stable")][:count]
    return [int(position) for position in ranked]


class BM25:
    """Retrieval by words: BM25 with k1 = 1.5 and b = 0.75 in Lucene's form."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self.identity = bm25_identity()
        if len(corpus) < CACHED_FROM:
            self._index: Any = _indexed(corpus)
            return
        import bm25s

        key = f"bm25-{digest([self.identity, corpus.fingerprint])[:32]}"
        folder = cached_folder(key, lambda path: _save(corpus, path))
        self._index = bm25s.BM25.load(folder, mmap=True, show_progress=False)

    def search(self, query: str, count: int) -> tuple[Passage, ...]:
        """The passages that share words with the query; safe to call from several threads."""
        known = self._index.get_tokens_ids(words(query))
        if not known:
            return ()
        scores = self._index.get_scores_from_ids(known)
        return tuple(self._corpus.passages[i] for i in best(scores, count))


def bm25_identity() -> str:
    """The settings, the way words are taken, and the library's version."""
    return f"bm25 {digest([_SETTINGS, _TOKENS])[:12]} bm25s {version('bm25s')}"


def _indexed(corpus: Corpus) -> Any:
    import bm25s

    vocabulary: dict[str, int] = {}
    ids = [
        [vocabulary.setdefault(w, len(vocabulary)) for w in words(passage.indexed)]
        for passage in corpus.passages
    ]
    if not vocabulary:
        raise DataMalformed("No passage of the corpus has a word to search for.")
    index = bm25s.BM25(**_SETTINGS, backend="numpy")
    index.index((ids, vocabulary), show_progress=False)
    return index


def _save(corpus: Corpus, folder: Path) -> None:
    _indexed(corpus).save(folder, show_progress=False)


_shared: OrderedDict[tuple[str, str], Retriever] = OrderedDict()
_sharing = threading.Lock()


def shared_retriever(name: str, corpus: Corpus) -> Retriever:
    """The process's one retriever of that name over that corpus; the eight last used are kept.

    Raises EnvError for a name of another form, DataUnavailable where a model is missing.
    """
    kind, _, model = name.partition(":")
    if name != "bm25" and not (kind == "dense" and model):
        raise EnvError(f"There is no retriever '{name}'; choose {_FORMS}.")
    key = (name, corpus.fingerprint)
    # Held while an index is built: another thread that wants it waits and does not build it again.
    with _sharing:
        if key not in _shared:
            _shared[key] = BM25(corpus) if kind == "bm25" else _dense(corpus, model)
        _shared.move_to_end(key)
        while len(_shared) > _MOST_SHARED:
            _shared.popitem(last=False)
        return _shared[key]


def _dense(corpus: Corpus, model: str) -> Retriever:
    from envs.search.dense import Dense

    return Dense(corpus, model)
