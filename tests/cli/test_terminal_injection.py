"""No field of any record steers the terminal: control characters, markup, hyperlinks."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main

EVIL = "\x1b[31mred\x1b]8;;http://evil\x1b\\link\x9b31m\x07\u202e[bold]b[/bold][/] :smile:"
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
RUN = ["run", "--env", "arithmetic", "--model", "scripted:constant=Answer: 5", "--quiet"]
SMALL = ["--episodes", "48", "--test-tasks", "4", "--samples", "2", "--preset", "laptop"]
FILES = ("rounds", "population", "episodes", "test", "entry")

Place = tuple[str | int, ...]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose records are spoilt field by field."""
    folder = tmp_path_factory.mktemp("spoilt") / "run"
    assert main([*RUN, *SMALL, "--method", "evolution", "--run-dir", str(folder)]) == 0
    return folder


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    """Places of all numbers, texts and keys; of a list only the first item."""
    yield place
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*place, key))
    elif isinstance(value, list) and value:
        yield from leaves(value[0], (*place, 0))


def spoilt(value: Any, place: Place) -> Any:
    """The same record with a hostile text at one place."""
    if not place:
        return f"{value}{EVIL}" if isinstance(value, str) else EVIL
    copy = value.copy()
    copy[place[0]] = spoilt(value[place[0]], place[1:])
    return copy


def renamed(value: Any, place: Place) -> Any:
    """The same record with one key that is hostile."""
    copy = value.copy()
    if len(place) > 1:
        copy[place[0]] = renamed(value[place[0]], place[1:])
    elif isinstance(copy, dict):
        copy[f"{place[0]}{EVIL}"] = copy.pop(place[0])
    return copy


@pytest.mark.parametrize("name", FILES)
def test_no_field_of_a_record_steers_the_terminal(
    name: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    path = run / f"{name}.json{'' if name == 'entry' else 'l'}"
    *before, last = path.read_text().splitlines() if name != "entry" else [path.read_text()]
    record = json.loads(last)
    places = [p for p in dict.fromkeys(leaves(record)) if p]
    assert len(places) > 8
    for place in places:
        for change in (spoilt, renamed):
            # JSON writes the escape character as an escape of its own, as a stranger's file would.
            path.write_text("\n".join([*before, json.dumps(change(record, place))]) + "\n")
            for words in (["show", str(run)], ["leaderboard", str(run)]):
                assert main(words) in (0, 1, 2, 3, 4, 5), (place, words)
                said = capsys.readouterr()
                found = FORBIDDEN.search(said.out + said.err)
                assert not found, (place, change.__name__, words, found)
    path.write_text("\n".join([*before, last]) + "\n")
    assert main(["show", str(run)]) == 0
