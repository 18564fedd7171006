"""A setting that came later, at its first value, makes no row of its own."""

from dataclasses import asdict

import pytest

import agents
from leaderboards.boards.publish import refusal
from leaderboards.boards.rank import boards
from leaderboards.records.added_settings import LATER, settled

OLD = {"edits": 2}
NOW = {"edits": 2, "noise": 0.0, "finals": 0, "islands": 0}


@pytest.mark.parametrize("method", sorted(LATER))
def test_the_first_values_are_the_methods_own(method):
    settings = asdict(agents.config_type(method)())
    assert {name: settings[name] for name in LATER[method]} == LATER[method]


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
    assert settled(entry) == {"advantage": "own", "islands": 0}
