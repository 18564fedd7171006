"""Additions to records: a method's new setting makes no new row at its first value, and a new Track
field is left out at the value that means the old behaviour.
"""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest

import agents
from harness.settings.build import recorded
from leaderboards.boards.formatting import track_lines
from leaderboards.boards.publish import refusal
from leaderboards.boards.rank import boards
from leaderboards.records.added_settings import FIRST_VALUES, added
from leaderboards.records.entry import Entry, Track
from leaderboards.records.strict_json import RecordError, canonical, decode, encode

OLD = {"edits": 2}
NOW = {"edits": 2, "noise": 0.0, "finals": 0, "islands": 0}


@pytest.mark.parametrize("method", sorted(FIRST_VALUES))
def test_the_first_values_are_the_methods_own(method):
    settings = recorded(agents.config_type(method)())
    assert {name: settings[name] for name in FIRST_VALUES[method]} == FIRST_VALUES[method]


def test_old_and_new_runs_are_one_row_and_a_changed_setting_another(make_entry):
    entries = [
        make_entry(method="evolution", config=OLD, seed=0),
        make_entry(method="evolution", config=NOW, seed=1),
        make_entry(method="evolution", config={**NOW, "noise": 1.0}, seed=0),
    ]
    (board,) = boards(entries)
    assert sorted(row.seeds for row in board.rows) == [(0,), (0, 1)]
    assert {row.settings for row in board.rows} == {("noise=unset",), ("noise=1.0",)}


def test_a_second_run_under_new_settings_is_refused(make_entry):
    first = make_entry(method="espl", config=OLD)
    again = make_entry(method="espl", config=NOW, policy_version=3)
    assert "second run" in refusal(again, [first])
    assert not refusal(make_entry(method="espl", config={**NOW, "finals": 5}), [first])


def test_methods_that_recorded_everything_keep_everything(make_entry):
    entry = make_entry(method="fst", config={"advantage": "own", "islands": 0})
    assert entry.row_config == {"advantage": "own", "islands": 0}


@dataclass(frozen=True)
class GrownTrack:
    """A record of which two fields were added after files had been written."""

    env: str
    policy_lag: int = added(0)
    shuffled: bool = added(False)


OLD_FILE = {"env": "arithmetic-v1"}


def test_an_added_field_is_left_out_at_the_value_that_means_the_old_behaviour():
    old = decode(GrownTrack, OLD_FILE)
    assert old == GrownTrack("arithmetic-v1", 0, False)
    assert canonical(encode(old)) == canonical(OLD_FILE)  # so its hash, the id, holds
    assert decode(GrownTrack, {**OLD_FILE, "policy_lag": 0}) == old


def test_an_added_field_is_written_at_every_other_value():
    new = GrownTrack("arithmetic-v1", 2, True)
    assert encode(new) == {"env": "arithmetic-v1", "policy_lag": 2, "shuffled": True}
    assert decode(GrownTrack, encode(new)) == new
    assert encode(replace(new, shuffled=False)) == {"env": "arithmetic-v1", "policy_lag": 2}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({**OLD_FILE, "policy_lag": "2"}, "'policy_lag' must be a whole number"),
        ({**OLD_FILE, "policy_lag": False}, "'policy_lag' must be a whole number"),
        ({**OLD_FILE, "lag": 2}, "'lag' is unknown"),
        ({"policy_lag": 2}, "'env' is missing"),
    ],
)
def test_an_added_field_is_read_as_strictly_as_others(value, message):
    with pytest.raises(RecordError, match=message):
        decode(GrownTrack, value)


def test_every_field_that_the_first_entries_lack_is_declared_as_added():
    first = json.loads((Path(__file__).parent / "golden" / "v1.entry.json").read_text())
    missing = {f.name: f for f in fields(Track) if f.name not in first["track"]}
    undeclared = [name for name, f in missing.items() if "omitted_at" not in f.metadata]
    assert undeclared == [], "declare new Track fields with added_settings.added(old value)"
    assert Entry.from_json(json.dumps(first)).track.id == "34243515d0ae"


def test_an_entry_without_a_model_configuration_is_not_compared_by_it(make_entry):
    old = make_entry(seed=0)
    new = make_entry(seed=1, track={"model_configuration": "sha256:1"})
    other = make_entry(seed=2, track={"model_configuration": "sha256:2"})
    (board,) = boards([old, new])
    assert board.track == new.track
    assert [row.seeds for row in board.rows] == [(0, 1)]
    # Which of the two configurations the old run had, nobody knows.
    assert len(boards([old, new, other])) == 3
    assert "model_configuration" not in encode(old.track)


def test_what_training_leaves_out_stands_on_the_leaderboard(make_entry):
    whole = make_entry()
    part = make_entry(track={"adapter": "without mlp.router"})
    assert len(boards([whole, part])) == 2
    assert "training adapts the model without mlp.router" in track_lines(part.track)
    assert not [line for line in track_lines(whole.track) if "adapts" in line]
