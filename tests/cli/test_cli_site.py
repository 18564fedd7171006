"""`harness leaderboard --html/--csv/--parquet` on real, small runs."""

import csv
import json
import math

import pytest

from harness.cli.main import main

RUN = ["run", "--env", "arithmetic", "--model", "scripted:constant=Answer: 5", "--quiet"]
ROUND = ["--set", "budget.tasks=1", "--set", "budget.prompts=2", "--set", "budget.samples=4"]
SMALL = [*ROUND, "--episodes", "16", "--test-tasks", "4", "--samples", "2", "--run-dir", "out"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One run of evolution and one of reflection, which the tests below only read."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*RUN, *SMALL, "--method", "evolution,reflection"]) == 0
    return folder


@pytest.fixture(autouse=True)
def elsewhere(home, tmp_path, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "300")


def given(path):
    text = path.read_text(encoding="ascii")
    return json.loads(text[text.index("] = ") + 4 : -2])


def of(folder, method):
    entry = json.loads((folder / "out" / f"{method}-seed0" / "entry.json").read_text())
    places = [
        path
        for path in (folder / "site" / "runs").glob("*.html")
        if f"<h1>{method} " in path.read_text(encoding="utf-8")
    ]
    assert len(places) == 1
    return entry, places[0]


def test_a_site_of_real_runs_shows_curves_and_transcripts(home, capsys):
    assert main(["leaderboard", "out", "--html", "site"]) == 0
    assert "2 runs on 1 leaderboard, 2 with learning curves" in capsys.readouterr().err
    entry, place = of(home, "evolution")
    told = given(place.with_suffix(".js"))
    assert len(told["outcomes"]) == len(entry["outcomes"]) == 8
    assert all("turns" in said and said["turns"][0][0] for said in told["transcripts"])
    assert told["plots"]["curve"]["series"][0]["x"]["episodes"][-1] == 16
    assert told["plots"]["ratings"]["series"]
    _, place = of(home, "reflection")
    assert "ratings" not in given(place.with_suffix(".js"))["plots"]


def test_unpublishable_texts_are_replaced_by_ids_hashes_and_completions(
    home, tmp_path, monkeypatch
):
    import envs.arithmetic

    kinds = [v for v in vars(envs.arithmetic).values() if hasattr(v, "redistributable")]
    for kind in kinds:
        monkeypatch.setattr(kind, "redistributable", False, raising=False)
    from harness.runs.history.texts import _described
    from harness.runs.run_log import read_log

    _described.cache_clear()
    log = read_log(home / "out" / "evolution-seed0" / "entry.json")
    _described.cache_clear()
    assert not log.texts and log.tests and log.training
    for attempt in (*log.tests, *log.training):
        assert attempt.feedback == "" and len(attempt.task_hash) == 64
        assert all(said == "" and reply == "Answer: 5" for said, reply in attempt.turns)


def test_a_damaged_run_is_reported_and_skipped(home, tmp_path, capsys):
    import shutil

    shutil.copytree(home / "out", tmp_path / "out")
    (tmp_path / "out" / "evolution-seed0" / "rounds.jsonl").write_text('{"round": 0}\n')
    assert main(["leaderboard", str(tmp_path / "out"), "--html", str(tmp_path / "site")]) == 0
    told = capsys.readouterr().err
    assert "1 run on 1 leaderboard" in told and "in a damaged run" in " ".join(told.split())


def test_rows_as_csv_and_parquet_are_the_same(home, tmp_path):
    import pyarrow.parquet as pq

    files = ["--csv", str(tmp_path / "b.csv"), "--parquet", str(tmp_path / "b.parquet")]
    assert main(["leaderboard", "out", *files]) == 0
    with (tmp_path / "b.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    typed = pq.read_table(tmp_path / "b.parquet").to_pylist()
    assert [r["method"] for r in rows] == [r["method"] for r in typed]
    assert {r["method"] for r in rows} == {"evolution", "reflection"}
    for text, value in zip(rows, typed, strict=True):
        assert math.isclose(float(text["score"]), value["score"])
        assert text["method_low"] == "" and value["method_low"] is None
        assert value["provisional"] is True and value["episodes"] == 16.0


def test_files_and_other_output_do_not_mix(home, capsys):
    for other in (["--json"], ["--markdown"]):
        assert main(["leaderboard", "out", "--html", "site2", *other]) == 2
    assert main(["leaderboard", "verify", "--csv", "b.csv"]) == 2
    assert "as another command" in capsys.readouterr().err
    assert not (home / "site2").exists()


def test_a_folder_of_other_things_is_refused(home, capsys):
    assert main(["leaderboard", "out", "--html", "out"]) != 0
    assert "something other than a site" in capsys.readouterr().err


def test_an_unknown_tracker_is_refused_before_anything_is_laid_out(home, capsys):
    assert main([*RUN, "--method", "base", "--tracker", "tensorbord", "--run-dir", "never"]) == 2
    assert "Did you mean 'tensorboard'" in capsys.readouterr().err
    assert not (home / "never").exists()
