"""Values as script files: `file://` forbids fetching, so a page's numbers come as JavaScript.

What is written is one assignment of one JSON value in ASCII, so nothing in it can end a string, a
line or an element.
"""

import json
from pathlib import Path

from leaderboards.records.strict_json import JSON


def as_script(name: str, value: JSON, **texts: str) -> str:
    """A script that hands `value` to the page under `name`.

    `texts` are further members of it that are JSON text already, in ASCII.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for key, more in texts.items():
        text = f'{text[:-1]}{"," if len(text) > 2 else ""}"{key}":{more}}}'
    text = text.replace("<", "\\u003c")
    return f"(globalThis.given ??= {{}})[{json.dumps(name)}] = {text};\n"


def write_script(path: Path, name: str, value: JSON, **texts: str) -> None:
    """Write it; the folder has to be there."""
    path.write_text(as_script(name, value, **texts), encoding="ascii")
