"""Schema 3: details of a run that may be absent, each within a stated size."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leaderboards.boards.rank import boards
from leaderboards.records.details import (
    LONGEST,
    MOST,
    CurvePoint,
    Participant,
    PopulationPrompt,
    SettingChange,
    SettingsSegment,
    TaskText,
    thinned,
)
from leaderboards.records.entry import Entry, Prompt
from leaderboards.records.store import write_entry
from leaderboards.records.strict_json import RecordError
from leaderboards.site import build_site
from leaderboards.site.reading import compact, identity, restore

GOLDEN = Path(__file__).parent / "golden" / "v3.entry.json"
OLD = [Path(__file__).parent / "golden" / f"v{n}.entry.json" for n in (1, 2)]


def member(id, *parents, principles=(), generation=0, mu=None):
    sigma = None if mu is None else 1.0
    return PopulationPrompt(id, principles, parents, "mutation", generation, mu, sigma, 1)


DETAILS: dict[str, Any] = {
    "segments": (SettingsSegment(3, (SettingChange("method.learning_rate", 4e-05, 1e-05),)),),
    "execution_changes": (SettingsSegment(2, (SettingChange("model.batch_rows", 8, None),)),),
    "participants": (
        Participant(
            iteration=0,
            started="2026-01-31T10:00:00+00:00",
            starts=2,
            commit="0123abc",
            dirty=False,
            versions={"python": "3.11.7"},
            machine="Linux x86_64, 2 cores",
            processor="Some CPU",
            accelerator="",
            device="cpu",
            threads=2,
        ),
    ),
    "learning_curve": (
        CurvePoint(0, 0.25, 240, 26_000, 3_000, 8, 40.0),
        CurvePoint(1, None, 480, 52_000, 6_100, 16, 93.5),
    ),
    "population": (
        member("a", mu=25.0),
        member("b", "a", principles=("Carry the one.",), generation=1, mu=27.5),
    ),
    "task_texts": (TaskText("test:0", "Add 7 and 5 <b>in your head</b>."),),
    "backend": {"weights": "2" * 64, "file.config.json": "sha256:3"},
    "sealed": "4" * 64,
    "asked_again": 2,
    "hung_graders": 1,
}


def test_the_third_schema_is_read_for_ever() -> None:
    entry = Entry.from_json(GOLDEN.read_bytes())
    assert entry.id == "0df1bec11e89be61"
    assert {name: getattr(entry, name) for name in DETAILS} == DETAILS
    assert entry.to_json() == GOLDEN.read_text()


def test_without_its_details_an_entry_keeps_the_first_schema_and_its_id(make_entry):
    whole = make_entry(**DETAILS)
    assert json.loads(whole.to_json())["schema"] == 3
    empty = dict.fromkeys(DETAILS, ()) | {"backend": {}, "sealed": "", "asked_again": 0}
    bare = replace(whole, **{**empty, "hung_graders": 0})
    assert json.loads(bare.to_json())["schema"] == 1
    assert (bare.id, bare.to_json()) == (make_entry().id, make_entry().to_json())


@pytest.mark.parametrize("name", DETAILS)
def test_every_detail_may_stand_alone_and_makes_another_id(make_entry, name):
    entry = make_entry(**{name: DETAILS[name]})
    again = Entry.from_json(entry.to_json())
    assert again == entry
    assert identity(entry)[0] == entry.id == again.id != make_entry().id


@pytest.mark.parametrize("path", OLD, ids=lambda p: p.name)
@pytest.mark.parametrize("name", DETAILS)
def test_older_schemas_may_not_hold_details(path, name):
    raw = json.loads(path.read_text())
    raw[name] = json.loads(GOLDEN.read_text())[name]
    with pytest.raises(RecordError, match=f"'{name}' is unknown to schemas before 3"):
        Entry.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"segments": ()}, ""),
        (
            {"segments": (SettingsSegment(3, DETAILS["segments"][0].changes),) * 201},
            "at most 200 items",
        ),
        (
            {
                "segments": tuple(
                    reversed([SettingsSegment(n, DETAILS["segments"][0].changes) for n in (1, 2)])
                )
            },
            "order",
        ),
        ({"learning_curve": (DETAILS["learning_curve"][0],) * 2}, "each iteration once"),
        (
            {"learning_curve": tuple(CurvePoint(n, 0.0, 0, 0, 0, 0, 0.0) for n in range(2001))},
            "2,000",
        ),
        ({"population": (member("a"),) * 2}, "each prompt once"),
        ({"population": (member("a", principles=("x" * LONGEST["population"],)),)}, "characters"),
        ({"task_texts": (TaskText("test:9", "a"),)}, "tasks of the outcomes"),
        ({"task_texts": (TaskText("test:0", "a"),) * 2}, "each task once"),
        (
            {"task_texts": (TaskText("test:0", "\u00e9" * (LONGEST["task_texts"] // 6)),)},
            "characters",
        ),
        ({"backend": {str(n): "" for n in range(MOST["backend"] + 1)}}, "at most 64 items"),
        ({"backend": {"server": "http://host.example/v1"}}, "path or address"),
        ({"participants": (replace(DETAILS["participants"][0], machine="/home/me"),)}, "path"),
        ({"asked_again": -1}, "asked_again"),
    ],
)
def test_details_beyond_their_size_or_in_contradiction_are_refused(make_entry, change, problem):
    if not problem:
        assert make_entry(**change) == make_entry()
        return
    with pytest.raises(RecordError, match=problem):
        make_entry(**change)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SettingsSegment(0, ()),
        lambda: SettingChange("learning_rate", 1, 2),
        lambda: SettingChange("method.learning_rate", 1, 1),
        lambda: member("a", principles=("x",) * 201),
        lambda: member("a", *"abcdefghijklmnopq"),
        lambda: replace(DETAILS["participants"][0], started="yesterday"),
        lambda: replace(DETAILS["participants"][0], starts=0),
    ],
)
def test_impossible_details_are_refused(make):
    with pytest.raises(RecordError):
        make()


def test_long_lists_are_thinned_evenly_to_the_last_item():
    assert list(thinned(range(5), 10)) == [0, 1, 2, 3, 4]
    assert list(thinned(range(10), 5)) == [1, 3, 5, 7, 9]
    assert list(thinned(range(11), 5)) == [1, 4, 7, 10]
    assert list(thinned([], 5)) == []


def test_a_site_shows_what_an_entry_holds_without_its_run(make_entry, tmp_path):
    entry = make_entry(**DETAILS, prompt=Prompt("", ("Carry the one.",)))
    write_entry(tmp_path / "in" / "one.entry.json", entry)
    built = build_site(tmp_path / "site", [tmp_path / "in"])
    assert (built.entries, built.with_logs, built.problems) == (1, 1, ())
    page = (tmp_path / "site" / "runs" / f"{entry.id}.html").read_text()
    assert "Learning curve" in page
    assert "Evolution of the prompt" in page
    script = (tmp_path / "site" / "runs" / f"{entry.id}.js").read_text()
    assert "Add 7 and 5" in script
    assert "</b>" not in script


def test_compact_entries_of_a_site_are_without_details_and_keep_the_id(make_entry):
    entry = make_entry(**DETAILS)
    again = restore(compact(entry, identity(entry)[0], None))
    assert (again.id, again.population, again.task_texts) == (entry.id, (), ())
    assert again.segments == entry.segments


def test_a_strangers_prompts_do_not_stop_the_site(make_entry, tmp_path):
    """Megabytes of principles that resemble each other, and parents in a circle."""
    texts = ["".join("ab"[(n >> k) & 1] for k in range(11)) * 180 for n in range(100)]
    crowd = [
        member(f"p{n}", f"p{(n + 1) % 20}", principles=tuple(texts[n % 7 :]), generation=n)
        for n in range(20)
    ]
    entry = make_entry(population=tuple(crowd))
    write_entry(tmp_path / "in" / "one.entry.json", entry)
    before = time.process_time()
    build_site(tmp_path / "site", [tmp_path / "in"])
    assert time.process_time() - before < 60
    assert boards([entry])
