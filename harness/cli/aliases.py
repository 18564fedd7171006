"""Old spellings of options, which this version still reads with a line that names the new one."""

import sys
from collections.abc import Iterator, Mapping, Sequence

_OPTIONS: Mapping[tuple[str, str], str] = {
    ("run", "--track"): "--tracker",
    ("resume", "--track"): "--tracker",
    ("run", "--engine"): "--executor",
    ("resume", "--engine"): "--executor",
    ("audit", "--no-play"): "--no-rollouts",
    ("calibrate", "--worlds"): "--envs",
}
"""The new spelling by command and old spelling."""


def renamed(arguments: Sequence[str]) -> list[str]:
    """The arguments with every old spelling replaced; each is said once on standard error."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    old = {flag: new for (verb, flag), new in _OPTIONS.items() if verb == command}
    found = dict.fromkeys(flag for flag in map(_flag, _before_end(arguments)) if flag in old)
    for flag in found:
        print(f"harness: {flag} is now {old[flag]}; only this version reads both", file=sys.stderr)
    # What follows `--` may look like an option, and stays as it is.
    end = len(list(_before_end(arguments)))
    return [
        old.get(_flag(word), _flag(word)) + word[len(_flag(word)) :] if n < end else word
        for n, word in enumerate(arguments)
    ]


def _flag(word: str) -> str:
    return word.partition("=")[0] if word.startswith("--") else word


def _before_end(arguments: Sequence[str]) -> Iterator[str]:
    """Words before `--`, after which everything is an argument."""
    for word in arguments:
        if word == "--":
            return
        yield word
