"""Settings that came after entries were published: a run from before them is the same row.

An entry records every setting its method had when it ran. A setting that is added later changes
nothing at its first value; so a recorded first value and no record at all mean one thing, and
rows, second runs and curves are told apart by what is left.
"""

from collections.abc import Mapping

from leaderboards.records.entry import Entry
from leaderboards.records.strict_json import JSON

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
_PROMPTS: Mapping[str, JSON] = {"noise": 0.0, "finals": 0, "islands": 0}
LATER: Mapping[str, Mapping[str, JSON]] = {
    "rl": _WEIGHTS,
    "evolution": _PROMPTS,
    "espl": {**_WEIGHTS, **_PROMPTS},
}
"""By method: the settings it was published without, with the value that changes nothing."""

_ABSENT = object()


def settled(entry: Entry) -> Mapping[str, JSON]:
    """The settings that tell rows apart: all but later ones at their first value."""
    later = LATER.get(entry.method)
    if later is None:
        return entry.config
    return {k: v for k, v in entry.config.items() if later.get(k, _ABSENT) != v}
