"""A leaderboard of thousands of entries, 1 % damaged: good ones are shown, damaged ones reported.

Kinds of damage: cut, emptied, zeros, bytes that are no text, another
schema, a missing or unknown field, a reward that is no number, an outcome left out, two keys of one
name, arrays without end, a folder or a dead link where a file should be.
"""

import contextlib
import io
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.soak._frame import Found
from harness.cli.main import main
from leaderboards.boards.rank import boards
from leaderboards.records.store import find_entries, read_entry

COUNT = 10_000
ONE = Path(__file__).resolve().parents[2] / "leaderboards" / "results"
Damage = Callable[[str], bytes]


def _without(text: str, field: str) -> bytes:
    return json.dumps({k: v for k, v in json.loads(text).items() if k != field}).encode()


def _with(text: str, **more: object) -> bytes:
    return json.dumps({**json.loads(text), **more}).encode()


DAMAGES: dict[str, Damage] = {
    "cut in the middle": lambda text: text.encode()[: len(text) // 2],
    "empty": lambda text: b"",
    "zeros": lambda text: bytes(len(text)),
    "bytes that are no text": lambda text: b"\xff\xfe\xfd" + text.encode(),
    "a later schema": lambda text: _with(text, schema=99),
    "no schema": lambda text: _without(text, "schema"),
    "no track": lambda text: _without(text, "track"),
    "an unknown field": lambda text: _with(text, surprise=1),
    "a reward that is no number": lambda text: text.replace(
        '"reward":', '"reward":NaN,"r":'
    ).encode(),
    "an outcome left out": lambda text: _with(text, outcomes=json.loads(text)["outcomes"][1:]),
    "test opened twice": lambda text: _with(text, test_openings=2),
    "a key twice": lambda text: text.replace("{", '{"seed": 1, "seed": 2, ', 1).encode(),
    "nested without end": lambda text: b"[" * 200_000,
    "a list": lambda text: b"[]",
    "a number of ten thousand digits": lambda text: b'{"schema": ' + b"1" * 10_000 + b"}",
    "a terminal escape": lambda text: _with(text, **{"\x1b[2J\x1b[31m": 1}),
    "an HTML page": lambda text: b"<!doctype html><script>alert(1)</script>",
}


def written(folder: Path, count: int, seed: int) -> tuple[int, Counter[str], set[str]]:
    """Write entries; returns how many are good, the damages done, and the bad files' names."""
    rng = random.Random(seed)
    model = read_entry(min(ONE.rglob("*.entry.json")))
    bad = set(rng.sample(range(count), max(len(DAMAGES), count // 100)))
    done: Counter[str] = Counter()
    names = set()
    for number in range(count):
        text = replace(model, seed=number, method=f"method-{number % 40}").to_json()
        path = folder / f"{number // 500:03}" / f"run-{number:06}.entry.json"
        path.parent.mkdir(exist_ok=True)
        if number not in bad:
            path.write_text(text)
            continue
        names.add(path.name)
        kind = list(DAMAGES)[len(names) % len(DAMAGES)]
        done[kind] += 1
        path.write_bytes(DAMAGES[kind](text))
    for name in ("folder", "link"):
        path = folder / f"a-{name}.entry.json"
        path.mkdir() if name == "folder" else path.symlink_to("nowhere")
    names.add("a-link.entry.json")
    return count - len(bad), done, names


def soak(seed: int, count: int, folder: Path) -> Found:
    """Write `count` entries, read them, rank them, print them."""
    good, done, bad = written(folder, count, seed)
    began = time.monotonic()
    found = find_entries([folder])
    read = time.monotonic() - began
    failures = []
    if len(found.entries) != good:
        failures.append(f"{len(found.entries)} of {good} good entries were read")
    for name in sorted(bad):
        if sum(name in problem for problem in found.problems) != 1:
            failures.append(f"{name} is damaged and not reported once")
    if any("\x1b" in problem for problem in found.problems):
        failures.append("a problem holds a terminal escape")
    rows = sum(len(board.rows) for board in boards(found.entries))
    out, err = io.StringIO(), io.StringIO()
    began = time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main(["leaderboard", str(folder)])
    said = err.getvalue() + out.getvalue()
    unwrapped = "".join(said.split())  # a long path is broken over lines
    if "method-39" not in out.getvalue():
        failures.append("the board does not show the good entries")
    if not any(name in unwrapped for name in bad):
        failures.append("the board names no damaged file")
    if "\x1b" in said:
        failures.append("a terminal escape was printed")
    figures: dict[str, int | float | str] = {
        "entries": count,
        "damaged": len(bad),
        "ways": len(done) + 1,
        "shown": len(found.entries),
        "named": len(found.problems),
        "rows": rows,
        "seconds to read": round(read, 1),
        "seconds to print": round(time.monotonic() - began, 1),
    }
    return Found(figures, tuple(failures[:50]))
