"""Settings and Track fields that were added after entries had been published.

An addition must not change what is published: an entry written before it keeps its id, and its run
stays comparable with later runs that did the same. Two rules ensure that.

- A new field of `Track` is declared with `added(old)`, where `old` is the value that means the
  behaviour before the field existed. At that value the field is left out of files, ids and JSON; a
  file without the field is read as having it. Every other value is written and makes another Track.
- A new setting of a method is listed in `FIRST_VALUES`. Entries do record it, but a recorded first
  value and no record at all make the same row.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from leaderboards.records.strict_json import JSON, OMITTED_AT

_WEIGHTS: Mapping[str, JSON] = {
    "advantage": "own",
    "clip": "own",
    "kl_form": "k3",
    "correction": "bypass",
    "correction_cap": None,
    "overlong": "keep",
    "constant": "own",
    "renormalise": True,
}
_PROMPTS: Mapping[str, JSON] = {
    "noise": 0.0,
    "finals": 0,
    "islands": 0,
    "when_stuck": "nothing",
    "always_newest": False,
    "crossover_edits": 0,
    "conflicts": "first",
}
FIRST_VALUES: Mapping[str, Mapping[str, JSON]] = {
    "rl": _WEIGHTS,
    "evolution": _PROMPTS,
    "espl": {**_WEIGHTS, **_PROMPTS},
}
"""By method: the settings added after its first entries, with the value that changes nothing."""

# None may be a first value, so a setting that has none needs another mark.
_ABSENT = object()


def added(old: str | int | float | bool) -> Any:
    """Declare a field of a record that older files lack.

    Args:
        old: The value that means the behaviour before the field existed; also the default.
    """
    return dataclasses.field(default=old, metadata={OMITTED_AT: old})


def without_first_values(method: str, config: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """The settings that distinguish rows: all but added ones at their first value."""
    first = FIRST_VALUES.get(method)
    if first is None:
        return config
    return {name: value for name, value in config.items() if first.get(name, _ABSENT) != value}
