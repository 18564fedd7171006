"""`--set` of commands that read one section only."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from harness.display.console_text import plain
from harness.errors import UsageError
from harness.settings.old_names import modern
from harness.settings.sections import Scalar
from harness.settings.sources import read_sets


def section_of(
    texts: Sequence[str], section: str, methods: Iterable[type[Any]] = ()
) -> dict[str, Scalar]:
    """The keys that were set in this section, under today's names; an old one is noted on stderr.

    Raises:
        UsageError: A key of another section was set.
    """
    tables, notes = modern(read_sets(texts), methods)
    for note in notes:
        print(f"harness: {plain(note, 300)}", file=sys.stderr)
    if other := sorted(set(tables) - {section}):
        key = next(iter(tables[other[0]]))
        raise UsageError(f"{other[0]}.{key} is not read here; give --set {section}.KEY=VALUE only.")
    return tables.get(section, {})
