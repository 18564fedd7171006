"""`harness calibrate`: real processes on a small budget, found again, judged, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli import main
from harness.storage.lock import Lock

PLAN = """
name = "small"
episodes = 320
model = "pocket"
preset = "pocket"
methods = ["base", "evolution"]

[[contrast]]
world = "told"
kind = "{kind}"
method = "evolution"
{other} = "base"
margin = 200.0
"""


def plan(folder: Path, kind: str, other: str) -> Path:
    path = folder / f"{other}.toml"
    path.write_text(PLAN.format(kind=kind, other=other))
    return path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small calibration that has run."""
    folder = tmp_path_factory.mktemp("calibrate")
    contrasts = plan(folder, "at least", "of")
    done = main(_words(folder, contrasts))
    assert done == 0
    return folder


def _words(folder: Path, contrasts: Path) -> list[str]:
    where = ["--run-dir", str(folder / "runs"), "--contrasts", str(contrasts)]
    return ["calibrate", "--seeds", "0-1", "--jobs", "2", *where]


def test_contrasts_that_hold_are_exit_code_0_and_the_report_is_written(ran: Path) -> None:
    report = json.loads((ran / "runs" / "report.json").read_text())
    assert set(report["scores"]["told"]) == {"base", "evolution"}
    assert set(report["scores"]["told"]["evolution"]) == {"0", "1"}
    assert report["findings"][0]["holds"] is True


def test_finished_runs_are_reused_and_a_failed_contrast_is_exit_code_1(
    ran: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    # With a margin of 200 points nothing is "more" than itself: base against base has no spread.
    contrasts = plan(ran, "more", "than")
    contrasts.write_text(contrasts.read_text().replace('"evolution"\nthan', '"base"\nthan'))
    assert main(_words(ran, contrasts)) == 1
    assert time.monotonic() - began < 15
    said = capsys.readouterr()
    assert "2 done before" in said.err
    assert "NO" in said.out


def test_an_environment_without_a_contrast_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--envs", "told,arithmetic"]) == 2
    assert "arithmetic" in capsys.readouterr().err


def test_an_interrupted_calibration_saves_and_resumes(tmp_path: Path) -> None:
    contrasts = plan(tmp_path, "at least", "of")
    contrasts.write_text(contrasts.read_text().replace("episodes = 320", "episodes = 8000"))
    words = [sys.executable, "-m", "harness", *_words(tmp_path, contrasts)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    runs = tmp_path / "runs"
    deadline = time.monotonic() + 90
    while not list(runs.glob("*/evolution-*/checkpoint")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 130, said
    assert "continues from here" in said
    assert not list(runs.glob("*/evolution-*/entry.json"))
    # The children were waited for: no run is held any more, and what they saved can be resumed.
    for begun in runs.glob("*/evolution-*"):
        Lock(begun / "run.lock").release()


def test_seeds_may_be_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--seeds", "5-3"]) == 2
    assert "different numbers" in capsys.readouterr().err
    assert main(["calibrate", "--seeds", "1-x"]) == 2
    assert "0-9" in capsys.readouterr().err
