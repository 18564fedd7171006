"""Run directories of every released schema are read, ranked and resumed for ever.

`python -m benchmarks.golden` makes those of a new schema; those that are there never change.
"""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.soak.kills import differences
from harness.cli.main import main
from harness.storage.run_dir import SCHEMA
from leaderboards.records.store import read_entry

HOME = Path(__file__).parent / "golden"
VERSIONS = sorted(p.name for p in HOME.glob("v*"))


def test_the_current_schema_has_its_golden_runs():
    assert f"v{SCHEMA}" in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_that_was_broken_off_goes_on_to_the_same_end(version, tmp_path, monkeypatch):
    shutil.copytree(HOME / version, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    assert not Path("runs/scripted-broken/entry.json").exists()
    assert main(["resume", "runs/scripted-broken", "--quiet", "--json"]) == 0
    # An entry's schema, versions and commit are of their time; what was computed is not.
    ends = [Path("runs", f"scripted-{end}", "entry.json") for end in ("finished", "broken")]
    then, now = map(read_entry, ends)
    for name in ("method", "seed", "outcomes", "prompt", "adapter_hash"):
        assert getattr(now, name) == getattr(then, name)
    assert now.config.items() >= then.config.items()  # later versions have more settings
    assert now.track.env_fingerprint == then.track.env_fingerprint
    for path in ends:
        path.unlink()
        path.with_name("rounds.jsonl").unlink()  # later versions count more in a round
    assert differences(Path("runs/scripted-finished"), Path("runs/scripted-broken"), True) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_trained_adapter_is_taken_up_again(version, tmp_path, monkeypatch, capsys):
    shutil.copytree(HOME / version / "pocket-broken", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert main(["resume", "run", "--quiet", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    state = json.loads(Path(HOME, version, "pocket-broken/checkpoint/state.json").read_text())
    assert (run["episodes"], run["unscored"]) == (24, 0)
    assert run["gradient_steps"] >= state["spent"]["gradient_steps"] > 0
    first = Path(HOME, version, "pocket-broken", "episodes.jsonl").read_text().splitlines()[:8]
    assert Path("run/episodes.jsonl").read_text().splitlines()[:8] == first


@pytest.mark.parametrize("version", VERSIONS)
def test_every_golden_run_is_shown_and_ranked(version, capsys):
    for run in sorted((HOME / version).iterdir()):
        assert main(["show", str(run)]) == 0
    capsys.readouterr()
    assert main(["leaderboard", str(HOME / version), "--json"]) == 0
    boards = json.loads(capsys.readouterr().out)["boards"]
    assert [row["method"] for board in boards for row in board["rows"]] == ["evolution"]
