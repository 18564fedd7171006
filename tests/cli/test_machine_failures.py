"""What a machine may do to a run: full disks, folders that cannot be written, clocks, signals."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.soak._cases import WORLD
from benchmarks.soak._server import served
from benchmarks.soak.kills import differences
from harness.cli.main import main

MAIN = "from harness.cli import main; raise SystemExit(main())"
PARITY = ["run", "--env", "parity:Mine/Parity-v0", "--preset", "laptop", "--test-tasks", "70"]
SMALL = [*PARITY, "--samples", "1", "--episodes", "48", "--set", "budget.tasks=3", "--quiet"]
SMALL += ["--set", "budget.prompts=2", "--set", "budget.samples=4", "--json"]
SCRIPTED = [*SMALL, "--model", "scripted:echo", "--method", "evolution"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "parity.py").write_text(WORLD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def small_disk(home):
    """A folder on a file system of its own, of 96 KiB."""
    place = home / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("not run: no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def remount(place, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def test_a_run_stopped_by_a_full_disk_resumes_when_there_is_space(home, small_disk, capsys):
    assert main([*SCRIPTED, "--run-dir", "whole"]) == 0
    with (small_disk / "ballast").open("wb") as ballast:
        ballast.write(b"x" * 52 * 1024)
    assert main([*SCRIPTED, "--run-dir", "disk/run"]) == 5
    said = capsys.readouterr().err
    assert "no space is left there" in said and "harness resume disk/run" in said
    assert main(["resume", "disk/run", "--quiet", "--json"]) == 5
    remount(small_disk, "size=4m")
    assert main(["resume", "disk/run", "--quiet", "--json"]) == 0
    assert differences(home / "whole", small_disk / "run", ordered=True) == []


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_moment_loses_nothing(home, capsys):
    """Files may grow to so many bytes, then to more: whatever was written first fails first."""
    assert main([*SCRIPTED, "--run-dir", "whole"]) == 0
    before, rng = resource.getrlimit(resource.RLIMIT_FSIZE), random.Random(0)
    stopped, code, limit = 0, 5, 0
    try:
        while code:
            limit += rng.randint(1, 4000)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            begun = Path("run", "config.toml").exists()
            again = ["resume", "run", "--quiet", "--json"]
            code = main(again if begun else [*SCRIPTED, "--run-dir", "run"])
            assert code in (0, 5)
            stopped += code == 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert stopped > 3
    assert "grow" in capsys.readouterr().err
    assert differences(home / "whole", home / "run", ordered=True) == []


def test_a_folder_that_cannot_be_written_is_refused_in_a_sentence(home, small_disk, capsys):
    remount(small_disk, "size=4m")
    shutil.copytree(small_disk, home / "before")
    with served(lambda body: "4", lambda body, times: "") as (url, server):
        server.away = True
        model = [*SMALL, "--model", url, "--method", "base", "--set", "model.retries=0"]
        assert main([*model, "--run-dir", "disk/run"]) == 4
    remount(small_disk, "ro")
    capsys.readouterr()
    assert main([*SCRIPTED, "--run-dir", "disk/other"]) == 5
    assert "Read-only file system" in capsys.readouterr().err
    assert main(["resume", "disk/run", "--quiet"]) == 5
    assert "read-only" in capsys.readouterr().err
    remount(small_disk, "rw")


def test_a_finished_run_can_be_read_where_nothing_can_be_written(home, small_disk, capsys):
    remount(small_disk, "size=4m")
    assert main([*SCRIPTED, "--run-dir", "disk/run"]) == 0
    remount(small_disk, "ro")
    for words in (["show", "disk/run"], ["resume", "disk/run"], ["leaderboard", "disk/run"]):
        assert main(words) == 0
    remount(small_disk, "rw")


CLOCK = """
import random, time
jumps = random.Random(3)
time.time = lambda real=time.time: real() + jumps.choice((-1e6, 0, 1e6))
"""


def start(*words, code=MAIN, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        **options,
    )


def test_a_clock_that_jumps_decides_nothing(home):
    assert main([*SCRIPTED, "--run-dir", "whole"]) == 0
    jumping = start(*SCRIPTED, "--run-dir", "run", code=CLOCK + MAIN)
    assert jumping.communicate(timeout=120) and jumping.returncode == 0
    assert differences(home / "whole", home / "run", ordered=True) == []


def waiting(server, count=8):
    """Until so many requests were asked, of which some are never answered."""
    until = time.monotonic() + 100
    while server.requests < count and time.monotonic() < until:
        time.sleep(0.02)
    assert server.requests >= count


@pytest.fixture
def stuck(home):
    """A run in the middle of its round: half of its requests are never answered."""

    def silent(body, times):
        return "timeout" if stuck_now and body.get("seed", 0) % 2 else ""

    stuck_now = [True]
    with served(lambda body: "4", silent) as (url, server):
        words = [*SMALL, "--model", url, "--method", "base", "--set", "model.retries=0"]
        process = start(*words, "--run-dir", "run")
        waiting(server)
        yield process
        process.kill()
        process.communicate()
        stuck_now.clear()
        assert main(["resume", "run", "--quiet", "--json"]) == 0


@pytest.mark.parametrize(
    ("signals", "code"),
    [([signal.SIGINT] * 2, 130), ([signal.SIGTERM], 143), ([signal.SIGHUP], 129)],
    ids=["Ctrl-C twice", "SIGTERM", "SIGHUP"],
)
def test_a_second_interrupt_or_a_term_signal_stops_at_once(stuck, signals, code):
    for number in signals:
        stuck.send_signal(number)
        time.sleep(0.3)
    began = time.monotonic()
    _, said = stuck.communicate(timeout=60)
    assert time.monotonic() - began < 10  # replies under way would take two minutes
    assert stuck.returncode == code
    assert "continue with: harness resume run\n" in said


def test_a_second_process_is_refused_with_the_pid_of_the_first(stuck, capsys):
    assert main(["resume", "run", "--quiet"]) == 5
    assert f"in use by process {stuck.pid}" in capsys.readouterr().err
    assert main([*SCRIPTED, "--run-dir", "run"]) in (2, 5)


def test_one_interrupt_finishes_the_round_and_saves(home):
    with served(lambda body: "4") as (url, server):
        words = [*SMALL, "--model", url, "--method", "evolution", "--episodes", "2400"]
        process = start(*words, "--run-dir", "run")
        waiting(server, 40)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping after this round" in said and "harness resume run" in said
    rounds = len(Path("run/rounds.jsonl").read_text().splitlines())
    assert len(Path("run/episodes.jsonl").read_text().splitlines()) == rounds * 24 > 0
    assert not Path("run/opening.json").exists()


@pytest.mark.parametrize("closed", [1, 2])
def test_a_run_finishes_with_stdout_or_stderr_closed(home, closed):
    """Standard output or error is closed before the run begins."""
    words = [w for w in SCRIPTED if w not in ("--quiet", "--json")]
    code = f"import os; os.close({closed}); " + MAIN
    process = start(*words, "--run-dir", "run", code=code)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert Path("run/entry.json").exists()


def test_a_closed_pipe_ends_no_run(home):
    words = [w for w in SCRIPTED if w not in ("--quiet", "--json")]
    reading, writing = os.pipe()
    os.close(reading)
    process = start(*words, "--run-dir", "run", stdout=writing)
    os.close(writing)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert Path("run/entry.json").exists()
