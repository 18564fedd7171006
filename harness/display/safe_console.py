"""The console that every command prints with: foreign text never steers the terminal.

Model output, prompts, entries and file names may hold control characters and look like rich markup.
They are cleaned where they are printed, once, so that no command has to remember it.
"""

import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typing_extensions import override

from harness.display.encoding import fitted

_KEPT = "\n\t"  # control characters that lay out text


def without_controls(text: str) -> str:
    """Text without control characters, line breaks and tabs excepted."""
    if text.isprintable():
        return text
    # Removed and not replaced: rich counts them as of no width, so columns stay aligned.
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable() or character in _KEPT:
        return character
    # Spaces of other kinds are laid out as of their width, so they stay spaces.
    return " " * cell_len(character) if unicodedata.category(character) == "Zs" else ""


class SafeConsole(Console):
    """A rich console that reads no markup in what it prints and emits no foreign control character.

    Characters that its encoding cannot hold are replaced by some of equal width. Styles and links
    of rich's own objects (`Text`, `Table`) work as ever.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})

    @override
    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Segments of a renderable; only rich's own control segments steer the terminal."""
        encoding = self.encoding
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
                continue
            text = fitted(without_controls(segment.text), encoding)
            yield segment if text is segment.text else Segment(text, segment.style)


def say(text: str) -> None:
    """Print a line to standard output without control characters."""
    print(fitted(without_controls(text), sys.stdout.encoding or "utf-8"))
