"""Characters that a terminal's or file's encoding cannot hold, replaced by some of equal width.

An encoding error in the middle of a table would lose what was still to be printed. Every
replacement takes as many columns as its character, so that tables stay aligned.
"""

import codecs
import sys
import unicodedata
from io import TextIOWrapper

from rich.cells import cell_len

REPLACE = "harness.replace"
"""Name of the error handler of encoders that replaces as `replacement` does."""

_ALIKE = str.maketrans(
    {
        **dict(zip("▁▂▃▄▅▆▇█", ".:-=+*#@", strict=True)),  # a curve still rises and falls
        **dict.fromkeys("─━═╌╴╸╶╺‐‑‒–—−·", "-"),
        **dict.fromkeys("│┃║", "|"),
        **dict.fromkeys("├└┌┐┘┤┬┴┼╭╮╯╰┏┓┗┛┠┡┢┣┫╇╈╋", "+"),
        **dict.fromkeys("°•★●◦*", "*"),
        **dict.fromkeys("→▸▶≥›", ">"),
        **dict.fromkeys("←◂≤‹", "<"),
        **dict.fromkeys("“”„«»", '"'),
        **dict.fromkeys("‘’‚", "'"),
        **dict.fromkeys("≈∼±", "~"),
        "×": "x",
        "μ": "m",
        "σ": "s",
        "…": ".",
        "²": "2",
        "✓": "v",
    }
)


def replacement(character: str) -> str:
    """ASCII for a character: alike where there is something alike, "?" elsewhere."""
    alike = character.translate(_ALIKE)
    if not alike.isascii():
        # A letter without its accent; anything else that decomposes would change its width.
        alike = unicodedata.normalize("NFKD", character)[:1]
    width = cell_len(character)
    if alike.isascii() and len(alike) == width:
        return alike
    return "?" * (width or not unicodedata.combining(character))


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(replacement, error.object[error.start : error.end])), error.end


codecs.register_error(REPLACE, _replace)


def fitted(text: str, encoding: str) -> str:
    """Text as that encoding can hold it."""
    if text.isascii():
        return text
    try:
        return text.encode(encoding, REPLACE).decode(encoding)
    except (LookupError, UnicodeError):  # no encoding of text at all
        return text.encode("ascii", REPLACE).decode("ascii")


def replace_in_streams() -> None:
    """Let standard output and error replace what they cannot hold, whoever prints to them."""
    for stream in (sys.stdout, sys.stderr):
        # A notebook's stand-in for a stream has no encoder, and a stream may have gone.
        if isinstance(stream, TextIOWrapper) and not stream.closed:
            stream.reconfigure(errors=REPLACE)
