"""Which folder a run is given, and that no two processes are given the same one."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from harness.errors import HarnessError, RunError
from harness.runs import run_dirs
from harness.runs.request import read_request, write_request
from harness.runs.resolve import Requested, resolve


@pytest.fixture(autouse=True)
def one_second(tmp_path, monkeypatch):
    """A clock that stands still, so that every run is asked for in the same second."""
    monkeypatch.chdir(tmp_path)

    class Still(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 5, 1, 12, 0, 0)

    monkeypatch.setattr(run_dirs, "datetime", Still)


def request(seed=0):
    asked = Requested(env="arithmetic", methods=("base",), model="scripted:echo", seeds=(seed,))
    return resolve(asked).configs


def test_runs_of_one_second_have_folders_of_their_own():
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(run_dirs.new_folder, ["calibration/both"] * 64))
    assert len(set(folders)) == 64
    assert all(folder.is_dir() for folder in folders)
    assert {f.name for f in folders} >= {
        "20260501-120000-calibration-both",
        "20260501-120000-calibration-both-64",
    }


def test_an_empty_folder_is_taken_and_one_laid_out_in_between_is_not_overwritten(monkeypatch):
    folder = run_dirs.new_folder("arithmetic")
    prepare = write_request

    def slowly(asked, place):
        """Another process lays the same folder out while this one prepares."""
        monkeypatch.setattr(run_dirs, "write_request", prepare)
        prepare(request(7)[0], folder)
        prepare(asked, place)

    monkeypatch.setattr(run_dirs, "write_request", slowly)
    with pytest.raises(RunError, match="cannot be written"):
        run_dirs.lay_out(request(), folder)
    assert read_request(folder).run.seed == 7
    assert run_dirs.lay_out(request(), run_dirs.new_folder("arithmetic"))[0].name.endswith(
        "arithmetic-2"
    )


@pytest.mark.parametrize("spoil", ["file", "dangling"])
def test_where_no_folder_can_be_made_one_sentence_says_so(spoil):
    Path("runs").write_text("") if spoil == "file" else Path("runs").symlink_to("nowhere")
    with pytest.raises(HarnessError, match=r"cannot be written .* give another --run-dir"):
        run_dirs.new_folder("arithmetic")
