"""Scripts that are written without spaces between words, and how their text is segmented."""

import re

UNSPACED = re.compile(
    "[\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
"""A sign of Chinese or Japanese."""

_RUNS = re.compile(rf"{UNSPACED.pattern}+|(?:(?!{UNSPACED.pattern})\w)+")


def segments(word: str) -> list[str]:
    """A word's segments: of Chinese and Japanese every sign and every pair of neighbours.

    Pairs are what Lucene's analyser for these languages indexes; single signs let a query of one
    sign find something.
    """
    if not UNSPACED.search(word):
        return [word]
    found: list[str] = []
    for run in _RUNS.findall(word):
        found += run if UNSPACED.match(run) else [run]
        if UNSPACED.match(run):
            found += [run[n : n + 2] for n in range(len(run) - 1)]
    return found
