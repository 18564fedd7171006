"""Data as script files, because pages opened from `file://` cannot fetch JSON.

A file is one assignment of one JSON value in ASCII, so nothing in it can end a string, a line or
an element.
"""

import json
from pathlib import Path

from leaderboards.records.strict_json import JSON


def as_script(name: str, value: JSON, **texts: str) -> str:
    """A script that gives `value` to the page under `name`.

    `texts` are further members of `value` that are already JSON text, in ASCII.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for key, more in texts.items():
        # The object {} takes no comma before its first member.
        text = f'{text[:-1]}{"," if len(text) > 2 else ""}"{key}":{more}}}'
    text = text.replace("<", "\\u003c")
    return f"(globalThis.given ??= {{}})[{json.dumps(name)}] = {text};\n"


def write_script(path: Path, name: str, value: JSON, **texts: str) -> None:
    """Write the script of `as_script`; the folder must exist."""
    path.write_text(as_script(name, value, **texts), encoding="ascii")
