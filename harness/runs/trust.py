"""Whether what a stranger's file names may be opened, and what to type where it may."""

import shlex
from collections.abc import Collection, Mapping

from envs.untrusted import untrusted_parts
from leaderboards.boards.formatting import plain

_LONGEST = 80  # characters of a name that are told


def untrusted(name: str, options: Mapping[str, object], trusted: Collection[str]) -> str:
    """What of a world may not be opened, and what to type; "" where all of it may be."""
    parts = [part for part in untrusted_parts(name, options) if not part.allowed(trusted)]
    if not parts:
        return ""
    told = " and ".join(f"the {part.kind} {plain(part.name, _LONGEST)}" for part in parts)
    words = " ".join(f"--trust {shlex.quote(plain(part.name, _LONGEST))}" for part in parts)
    return f"it opens {told}, not part of this package; if you trust that, add {words}"
