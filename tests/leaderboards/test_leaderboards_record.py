"""What a record may hold, what it refuses, and that it stays what it was."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboards.boards.rank import boards
from leaderboards.boards.render import as_json, markdown
from leaderboards.records.entry import (
    Entry,
    Outcome,
    Track,
    tasks_hash,
    text_hash,
)
from leaderboards.records.migrations import SCHEMA, migrate
from leaderboards.records.provenance import Prices, Provenance, Spent
from leaderboards.records.redact import redacted, redacted_json
from leaderboards.records.strict_json import RecordError, added_fields

GOLDEN = Path(__file__).parent / "golden" / "v1.entry.json"
NEWEST = Path(__file__).parent / "golden" / "v2.entry.json"
Make = Callable[..., Entry]


def golden(path: Path = GOLDEN) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(path.read_text())
    return raw


def test_the_first_schema_is_read_for_ever() -> None:
    entry = Entry.from_json(GOLDEN.read_bytes())
    assert entry.track.id == "34243515d0ae"
    assert entry.id == "3be6e77945345786"
    assert entry.method == "espl"
    assert entry.outcomes[2] == Outcome("test:1", 0, "unscored", None, None, 0, None)
    assert entry.outcomes[3].status == "truncated"
    assert entry.spent.reflection_tokens == 6_100
    assert entry.prompt.principles == ("Carry the one.",)


def test_the_second_schema_is_the_first_with_prices() -> None:
    entry = Entry.from_json(NEWEST.read_bytes())
    assert entry.id == "e2c141d44c528850"
    assert entry.provenance.prices == Prices("USD", 0.6, 2.0)
    first = replace(entry, provenance=replace(entry.provenance, prices=None))
    assert first == Entry.from_json(GOLDEN.read_bytes())


@pytest.mark.parametrize("path", [GOLDEN, NEWEST])
def test_what_is_written_is_what_was_read(path: Path) -> None:
    assert Entry.from_json(path.read_bytes()).to_json() == path.read_text()


def test_any_entry_survives_its_own_text(make_entry: Make) -> None:
    entry = make_entry(notes=("one", "two\n\x1b[31m \u202e \U0001f600 \ud800"))
    again = Entry.from_json(entry.to_json())
    assert again == entry
    assert again.id == entry.id
    assert entry.to_json().isascii()


def test_an_entry_made_of_whole_numbers_and_tuples_reads_back_as_itself(make_entry: Make) -> None:
    made = make_entry(track={"temperature": 1, "top_p": 1}, config={"betas": (0.9, 1)})
    assert Entry.from_json(made.to_json()) == made
    assert made.track.id == make_entry(track={"temperature": 1.0, "top_p": 1.0}).track.id


def test_what_json_cannot_hold_is_refused(make_entry: Make) -> None:
    with pytest.raises(RecordError, match="holds what JSON cannot"):
        make_entry(config={"a": float("nan")}).to_json()
    with pytest.raises(RecordError, match="holds what JSON cannot"):
        make_entry(config={"a": {1, 2}}).to_json()


def test_an_identity_is_its_content(make_entry: Make) -> None:
    assert make_entry().id == make_entry().id
    assert make_entry().id != make_entry(seed=1).id
    assert make_entry().track.id != make_entry(track={"top_p": 0.9}).track.id


def test_tracks_name_the_fields_in_which_they_differ(make_entry: Make) -> None:
    one, other = make_entry().track, make_entry(track={"model": "pocket", "top_p": 0.9}).track
    assert one.differs(other) == ("model", "top_p")
    assert one.differs(one) == ()


def test_the_hash_of_tasks_ignores_their_order_and_not_their_names() -> None:
    assert tasks_hash(["a", "b"]) == tasks_hash(["b", "a"])
    assert tasks_hash(["a", "b"]) != tasks_hash(["ab"])


def test_the_hash_of_a_text_is_its_sha256() -> None:
    assert text_hash("").startswith("e3b0c44298fc1c14")


MALFORMED: list[tuple[str, Any, str]] = [
    ("surprise", 1, "field 'surprise' is unknown"),
    ("track.surprise", 1, "field 'track.surprise' is unknown"),
    ("seed", "0", "field 'seed' must be a whole number, but is '0'"),
    ("seed", True, "field 'seed' must be a whole number, but is True"),
    ("seed", 1.0, "field 'seed' must be a whole number, but is 1.0"),
    ("method", " ", "field 'method' must name the method"),
    ("notes", "one", "field 'notes' must be a list"),
    ("track", [], r"field 'track' must be an object, but is \[\]"),
    ("track.model", None, "field 'track.model' must be a string, but is None"),
    ("track.placement", "top", "field 'track.placement' must be 'system' or 'user', but is 'top'"),
    ("track.top_p", 1.5, "field 'track.top_p' must be above 0 and at most 1, but is 1.5"),
    ("track.temperature", "warm", "field 'track.temperature' must be a finite number"),
    ("track.temperature", 10**400, "field 'track.temperature' must be a finite number"),
    ("track.max_tokens", 0, "field 'track.max_tokens' must be 1 to"),
    ("outcomes.0.reward", None, r"field 'outcomes\[0\].reward' must be null exactly where"),
    ("outcomes.2.reward", 0.0, r"field 'outcomes\[2\].reward' must be null exactly where"),
    ("outcomes.2.success", False, r"field 'outcomes\[2\].success' must be null where"),
    ("outcomes.0.reward", 1e300, r"field 'outcomes\[0\].reward' must be -1000000000000000"),
    ("outcomes.0.status", "fine", r"field 'outcomes\[0\].status' must be 'scored' or 'unscored'"),
    ("outcomes.0.sample", 1, "field 'outcomes' must hold each sample of a task once"),
    ("outcomes.0.sample", 2, r"field 'outcomes' must hold 2 tasks × 2 samples \(0 to 1\)"),
    ("outcomes.0.task", "test:9", "field 'outcomes' must hold 2 tasks × 2 samples"),
    ("track.test_tasks_hash", "0", "field 'track.test_tasks_hash' must be tasks_hash"),
    ("spent.episodes", -1, "field 'spent.episodes' must be 0 to"),
    ("spent.seconds", 10**400, "field 'spent.seconds' must be a finite number"),
    ("spent.acting_tokens", 10**400, "field 'spent.acting_tokens' must be 0 to"),
    ("provenance.versions.torch", 2, "field 'provenance.versions.torch' must be a string"),
    ("provenance.created", "yesterday", "must be a UTC time like 2026-01-31T12:00:00Z"),
    ("provenance.created", "2026-01-31T12:00:00+02:00", "must be a UTC time"),
    ("test_openings", 2, "field 'test_openings' must be 1, because test is opened once"),
    ("schema", 0, "field 'schema' must be 1 to"),
    ("schema", True, "field 'schema' must be 1 to"),
    ("schema", 99, "field 'schema' is 99, but this version reads up to 3; update the harness"),
    ("track.model", "hf:/home/me/tuned", "field 'track.model' must hold no path or address"),
    ("config.data", ["/home/me/data"], r"field 'config.data\[0\]' must hold no path or address"),
    ("provenance.command.0", "/usr/bin/harness", r"field 'provenance.command\[0\]' must hold no"),
]


@pytest.mark.parametrize(("place", "value", "message"), MALFORMED)
def test_a_malformed_field_is_named(place: str, value: Any, message: str) -> None:
    raw = golden()
    *way, last = place.split(".")
    inner: Any = raw
    for step in way:
        inner = inner[int(step) if step.isdigit() else step]
    inner[int(last) if last.isdigit() else last] = value
    with pytest.raises(RecordError, match=rf"^my\.json: .*{message}"):
        Entry.from_json(json.dumps(raw), "my.json")


@pytest.mark.parametrize("kind", [Track, Outcome, Spent, Provenance])
def test_every_field_must_be_there(kind: Any) -> None:
    places = {Track: "track", Outcome: "outcomes", Spent: "spent", Provenance: "provenance"}
    for field in fields(kind):
        if field.name in added_fields(kind):  # its absence has a meaning
            continue
        raw = golden(NEWEST)
        inner = raw[places[kind]]
        del (inner[1] if isinstance(inner, list) else inner)[field.name]
        with pytest.raises(RecordError, match=rf"{field.name}' is missing\.$"):
            Entry.from_json(json.dumps(raw))


def test_every_field_of_the_entry_must_be_there() -> None:
    for name in golden():
        raw = golden()
        del raw[name]
        with pytest.raises(RecordError, match=rf"field '{name}' is missing\.$"):
            Entry.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{", r"is not JSON \(.*line 1, column 2\)"),
        ("[1]", r"must be an object, but is \[1\]"),
        ("null", "must be an object, but is None"),
        ('{"a": 1, "a": 2}', "holds the key 'a' twice in one object"),
        ('{"a": NaN}', "holds the number NaN, but every number must be finite"),
        ('{"a": -Infinity}', "holds the number -Infinity"),
        ("[" * 200_000, "is nested too deeply|is not JSON"),
        ("9" * 9_000, "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
    ],
)
def test_what_is_no_record_is_refused_in_one_sentence(text: str | bytes, message: str) -> None:
    with pytest.raises(RecordError, match=rf"^bad\.json: {message}"):
        Entry.from_json(text, "bad.json")


def test_a_number_beyond_floating_point_is_not_finite() -> None:
    text = GOLDEN.read_text().replace('"top_p":1.0', '"top_p":1e999')
    with pytest.raises(RecordError, match=r"track\.top_p' must be a finite number, but is inf"):
        Entry.from_json(text)
    with pytest.raises(RecordError, match=r"field 'config\.a\[0\]' must be a finite number"):
        Entry.from_json(GOLDEN.read_text().replace('"config": {', '"config": {"a":[1e999],'))


def test_a_whole_number_may_stand_for_a_float() -> None:
    text = GOLDEN.read_text().replace('"top_p":1.0', '"top_p":1')
    assert Entry.from_json(text).id == Entry.from_json(GOLDEN.read_bytes()).id


def test_older_schemas_are_brought_forward_step_by_step() -> None:
    steps = {
        1: lambda raw: {**raw, "b": raw["a"] + 1},
        2: lambda raw: {"c": raw["a"] + raw["b"]},
    }
    assert migrate({"schema": 1, "a": 1}, "x", steps, 3) == {"schema": 3, "c": 3}
    assert migrate({"schema": 2, "a": 1, "b": 5}, "x", steps, 3) == {"schema": 3, "c": 6}
    assert migrate({"schema": 3, "c": 0}, "x", steps, 3) == {"schema": 3, "c": 0}


def test_every_older_schema_has_its_migration() -> None:
    from leaderboards.records.migrations import MIGRATIONS

    assert set(MIGRATIONS) == set(range(1, SCHEMA))


def test_an_outcome_cannot_contradict_itself() -> None:
    with pytest.raises(RecordError, match="reward"):
        Outcome("t", 0, "unscored", 0.0, None, 1)
    with pytest.raises(RecordError, match="reward"):
        Outcome("t", 0, "truncated", None, None, 1)
    with pytest.raises(RecordError, match="reward"):
        Outcome("t", 0, "scored", float("nan"), None, 1)
    with pytest.raises(RecordError, match="tokens"):
        Outcome("t", 0, "scored", 1.0, True, -1)


def test_replies_and_prompts_may_speak_of_paths(make_entry: Make) -> None:
    entry = make_entry()
    spoken = replace(entry.outcomes[0], reply="cd /home/me/x && curl http://example.org")
    prompt = replace(entry.prompt, principles=("Look in /etc/hosts/x first.",))
    told = replace(entry, outcomes=(spoken, *entry.outcomes[1:]), prompt=prompt)
    assert told.prompt.principles == ("Look in /etc/hosts/x first.",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:/home/me/models/tuned", "hf:…/tuned"),
        ("/root", "…"),
        ("/tmp/x", "…/x"),
        ("--data-dir=/mnt/big/data", "--data-dir=…/data"),
        ("read '/srv/a b'", "read '…/a b'"),
        ("~/models/x", "…/x"),
        (r"C:\Users\me\x", "…/x"),
        ("d:/models/x", "…/x"),
        (r"\\server\share\x", "…/x"),
        ("file:///home/me/x", "…"),
        ("openai:http://10.0.0.7:8000/v1#qwen", "openai:…#qwen"),
    ],
)
def test_paths_and_addresses_are_redacted(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "hf:Qwen/Qwen3-4B",
        "hf:./models/tuned",
        "calibration/told-v1",
        "AI-MO/aimo-validation-aime",
        "1/2 of 3 / 4",
        "/no_think",
        "tokens/s and/or s /step",
        r"\boxed{1}",
        "2026-01-31T12:00:00Z",
        "trl:grpo",
        "a: b",
    ],
)
def test_ordinary_values_are_left_alone(text: str) -> None:
    assert redacted(text) == text


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(alphabet="/\\~:=. '\"aC…-http#[", max_size=24))
def test_what_was_redacted_is_clean(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


def test_redaction_reaches_into_values() -> None:
    value = {"/tmp/a": ["/tmp/b", 1, None, {"c": "d"}]}
    assert redacted_json(value) == {"…/a": ["…/b", 1, None, {"c": "d"}]}


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(anything)
def test_any_json_is_an_entry_or_an_error(value: Any) -> None:
    with pytest.raises(RecordError):
        Entry.from_json(json.dumps(value))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.binary(max_size=64) | st.text(max_size=64))
def test_any_text_is_an_entry_or_an_error(text: str | bytes) -> None:
    with pytest.raises(RecordError):
        Entry.from_json(text)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.data())
def test_any_change_to_an_entry_gives_an_entry_that_can_be_shown_or_an_error(data: Any) -> None:
    raw = golden()
    inner: Any = raw
    while True:
        key = data.draw(
            st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner)))
        )
        if not (isinstance(inner[key], (dict, list)) and inner[key]) or data.draw(st.booleans()):
            break
        inner = inner[key]
    inner[key] = data.draw(anything)
    try:
        entry = Entry.from_json(json.dumps(raw))
    except RecordError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
        return
    json.dumps(as_json(boards([entry])), allow_nan=False)
    assert markdown(boards([entry]))


def test_reading_records_loads_no_heavy_library() -> None:
    code = (
        "import sys, leaderboards.records.entry, leaderboards.records.store\n"
        "import leaderboards.boards.rank\n"
        "print([m for m in ('scipy', 'numpy', 'rich', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
