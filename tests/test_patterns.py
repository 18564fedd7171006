"""Every regular expression of the packages takes time in proportion to the text.

Patterns are found by importing every module, texts are made from what a pattern is made of, and
each pattern is called as the code calls it (`search`, `fullmatch`, ...). Time is CPU time, and only
its growth counts.
"""

import importlib
import pkgutil
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from leaderboards.records.redact import redacted
from leaderboards.site.lineage import _block

PACKAGES = ("harness", "envs", "agents", "leaderboards")
PIECES = (
    *" a0\n(){}\\-,.<>='\"/[*$é", "a ", "0,", "1.", "a.", "a@", "a://", " \n", "0 ", "\\a{",
)  # fmt: skip
SIZES = (3_000, 6_000, 12_000)
WORTH_TIMING = 0.004  # CPU seconds of the shortest text; what is faster cannot be quadratic
METHODS = ("search", "match", "fullmatch", "finditer", "findall", "split", "sub")


def modules() -> Iterator[ModuleType]:
    for name in PACKAGES:
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if "starters" in found.name or found.name.endswith("__main__"):
                continue
            with warnings.catch_warnings(), suppress(ImportError):  # an optional package is missing
                warnings.simplefilter("ignore")  # of libraries that are imported on the way
                yield importlib.import_module(found.name)


def patterns_in(value: Any, depth: int = 0) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
        yield value
    elif depth < 3 and isinstance(value, dict):
        for pair in value.items():
            yield from patterns_in(pair, depth + 1)
    elif depth < 3 and isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from patterns_in(item, depth + 1)


@cache
def calls(path: Path) -> dict[str, set[str]]:
    """The methods by which a file calls patterns, by the name before the dot."""
    found: dict[str, set[str]] = {}
    for variable, method in re.findall(
        rf"\b(\w+)\.({'|'.join(METHODS)})\b", path.read_text(encoding="utf-8")
    ):
        found.setdefault(variable, set()).add(method)
    return found


@cache
def found() -> dict[str, tuple[re.Pattern[str], tuple[str, ...]]]:
    """Each pattern by where it stands, with the methods it is called by (all where not known)."""
    every: dict[str, tuple[re.Pattern[str], tuple[str, ...]]] = {}
    for module in modules():
        assert module.__file__ is not None
        for name, value in list(vars(module).items()):
            for number, pattern in enumerate(patterns_in(value)):
                methods = tuple(sorted(calls(Path(module.__file__)).get(name, ()))) or METHODS
                every.setdefault(f"{module.__name__}.{name}[{number}]", (pattern, methods))
    return every


def literals(pattern: str) -> list[str]:
    """Words and signs that a pattern names, as far as they can be read off its text."""
    plain = re.sub(r"\\[wWsSdDbBAZ]|\(\?[a-z<!=:>]+", " ", pattern)
    words = re.findall(r"[A-Za-z]{2,}|[^\w\s]|[\w]", plain)
    return list(dict.fromkeys(words))[:25]


def seconds(pattern: re.Pattern[str], methods: tuple[str, ...], text: str) -> float:
    began = time.process_time()
    for method in methods:
        if method == "sub":
            pattern.sub("", text)
        elif method == "finditer":
            for _ in pattern.finditer(text):
                pass
        else:
            getattr(pattern, method)(text)
    return time.process_time() - began


def test_patterns_are_found() -> None:
    assert len(found()) > 120
    assert "envs.terminal.env._DONE[0]" in found()


def growth(pattern: re.Pattern[str], methods: tuple[str, ...]) -> str:
    """A text for which time grows faster than length; "" if there is none."""
    own = literals(pattern.pattern)
    for piece in dict.fromkeys([*PIECES, *own, *(f"{word} " for word in own)]):
        for begin in ("", *own[:4]):
            texts = [begin + piece * (size // len(piece)) + "\x01" for size in SIZES]
            if seconds(pattern, methods, texts[0]) < WORTH_TIMING:
                continue
            # The least of three: another process may take the cache, never give time back.
            middle, long = (
                min(seconds(pattern, methods, text) for _ in range(3)) for text in texts[1:]
            )
            # Linear doubles, quadratic time takes four times as long.
            if long > 0.04 and long > 3.2 * middle:
                return f"{begin!r} and {piece!r}: {middle:.3f} s, then {long:.3f} s"
    return ""


@pytest.mark.parametrize("package", PACKAGES)
def test_no_pattern_takes_quadratic_time(package: str) -> None:
    patterns = {
        (pattern.pattern, pattern.flags, methods): (where, pattern)
        for where, (pattern, methods) in found().items()
        if where.startswith(package)
    }
    slow = {
        where: text
        for (_, _, methods), (where, pattern) in patterns.items()
        if (text := growth(pattern, methods))
    }
    assert not slow


@pytest.mark.parametrize("piece", ["/a", "C:/a", "~/", "a://", ":/b/c", "\\\\a", "'/a/b", "…/"])
def test_redaction_takes_time_in_proportion_to_a_note(piece: str) -> None:
    def took(size: int) -> float:
        began = time.process_time()
        redacted(piece * (size // len(piece)))
        return time.process_time() - began

    took(1_000)
    assert took(80_000) < 8 * took(20_000) + 0.3


def test_long_principles_are_compared_in_time() -> None:
    old, new = "ab c" * 20_000, "c ba" * 20_000
    began = time.process_time()
    assert [change.kind for change in _block([old], [new], {})]
    assert time.process_time() - began < 3.0
