"""Replies of a conversation stay apart in an entry; those of the first schema are one text."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leaderboards.records.entry import Entry
from leaderboards.records.strict_json import RecordError
from leaderboards.site.reading import identity

GOLDEN = {n: Path(__file__).parent / "golden" / f"v{n}.entry.json" for n in (1, 2)}
Make = Callable[..., Entry]


def test_the_second_schema_keeps_the_replies_of_a_conversation_apart(make_entry: Make) -> None:
    plain = make_entry()
    spoken = replace(plain.outcomes[0], reply=("Guess: 3", 'a "b"\n\n\u202e', ""))
    entry = replace(plain, outcomes=(spoken, *plain.outcomes[1:]))
    told = json.loads(entry.to_json())
    assert (told["schema"], json.loads(plain.to_json())["schema"]) == (2, 1)
    assert told["outcomes"][0]["reply"] == ["Guess: 3", 'a "b"\n\n\u202e', ""]
    again = Entry.from_json(entry.to_json())
    assert (again, again.id) == (entry, entry.id) and again.to_json() == entry.to_json()
    assert entry.id != plain.id
    assert identity(entry)[0] == entry.id


@pytest.mark.parametrize(
    ("schema", "reply", "message"),
    [
        (1, ["a"], r"field 'outcomes\[3\].reply' must be a string in schema 1"),
        (2, ["a", 1], r"field 'outcomes\[3\].reply\[1\]' must be a string, but is 1"),
        (2, [["a"]], r"field 'outcomes\[3\].reply\[0\]' must be a string"),
        (2, 1, r"field 'outcomes\[3\].reply' must be a string, but is 1"),
    ],
)
def test_replies_are_a_text_or_from_schema_2_a_list_of_texts(
    schema: int, reply: Any, message: str
) -> None:
    raw = json.loads(GOLDEN[schema].read_text())
    raw["outcomes"][3]["reply"] = reply
    with pytest.raises(RecordError, match=message):
        Entry.from_json(json.dumps(raw))
