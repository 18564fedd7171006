"""Links in a run directory, and file systems without locks."""

import ctypes
import os
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.errors import RunError
from harness.storage.atomic_files import Log, write_text
from harness.storage.lock import Lock
from harness.storage.own_files import open_own, refuse_links

GOLDEN = Path(__file__).parents[1] / "golden" / "v1" / "scripted-broken"
NAMES = [p.relative_to(GOLDEN).as_posix() for p in sorted(GOLDEN.rglob("*")) if p.is_file()]
ABSENT = ["run.lock", "test.jsonl", "unfinished_round.jsonl", "unfinished_test.jsonl"]
ABSENT += ["opening.json", "champion.txt", ".config.toml.part", "stderr.log"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    shutil.copytree(GOLDEN, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return Path("run")


def linked(path):
    target = Path("elsewhere") / path.name
    path.rename(target)
    path.symlink_to(target.resolve())


def hard_linked(path):
    path.with_name("other name").hardlink_to(path)
    path.with_name("other name").rename(Path("elsewhere") / path.name)


@pytest.mark.parametrize("link", [linked, hard_linked])
@pytest.mark.parametrize("name", [*NAMES, *ABSENT])
def test_a_file_of_a_run_that_is_a_link_is_refused_and_what_it_leads_to_is_left_alone(
    run, name, link, capsys
):
    Path("elsewhere").mkdir()
    path = run / name
    if name in ABSENT:
        path.write_text("somebody's")
    before = path.read_bytes()
    link(path)
    assert main(["resume", "run", "--quiet"]) == 5
    said = capsys.readouterr().err
    assert f"run/{name}" in said and "link" in said and said.count("\n") == 1
    assert (Path("elsewhere") / path.name).read_bytes() == before


@pytest.mark.parametrize("name", ["checkpoint", "checkpoint.old", "checkpoint.part"])
def test_a_checkpoint_that_is_a_link_is_refused(run, name, capsys):
    (run / "checkpoint").rename("elsewhere")
    (run / name).symlink_to(Path("elsewhere").resolve())
    assert main(["resume", "run", "--quiet"]) == 5
    assert f"run/{name} is a link" in capsys.readouterr().err
    assert Path("elsewhere/state.json").exists()


def test_a_pipe_in_place_of_a_log_is_refused_and_nobody_waits_for_it(run, capsys):
    (run / "episodes.jsonl").unlink()
    os.mkfifo(run / "episodes.jsonl")
    assert main(["resume", "run", "--quiet"]) == 5
    assert "run/episodes.jsonl is no regular file" in capsys.readouterr().err
    with pytest.raises(RunError, match="no regular file"):
        open_own(run / "episodes.jsonl", "ab")


def test_a_run_directory_may_be_reached_by_a_link_and_hold_links_of_others(run, tmp_path):
    Path("latest").symlink_to("run")
    Path("run/notes.md").symlink_to(tmp_path / "notes.md")
    refuse_links(Path("latest"))
    assert main(["resume", "latest", "--quiet", "--json"]) == 0


def test_logs_and_replaced_files_follow_no_link(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    for name in ("log.jsonl", ".a.txt.part", "stderr.log"):
        (tmp_path / name).symlink_to(mine)
    with pytest.raises(RunError, match=r"log\.jsonl is a link"):
        Log(tmp_path / "log.jsonl")
    with pytest.raises(RunError, match=r"stderr\.log is a link"):
        open_own(tmp_path / "stderr.log", "wb")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new" and mine.read_text() == "mine"


def test_a_lock_that_is_a_hard_link_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "run.lock").hardlink_to(tmp_path / "mine.txt")
    with pytest.raises(RunError, match=r"run\.lock cannot be locked, because it is a hard link"):
        Lock(tmp_path / "run.lock")
    assert (tmp_path / "mine.txt").read_text() == "mine"


FLOCK = {"x86_64": 73, "aarch64": 32}
NO_LOCKS = """
import ctypes, struct, sys
number, error = int(sys.argv[1]), int(sys.argv[2])
load, equal, answer = 0x20, 0x15, 0x06
program = b"".join(struct.pack("=HBBI", *line) for line in (
    (load, 0, 0, 0),                 # the number of the system call
    (equal, 0, 1, number),
    (answer, 0, 0, 0x50000 | error),  # an error instead of the call
    (answer, 0, 0, 0x7FFF0000),       # all others as ever
))
text = ctypes.create_string_buffer(program)
struct_ = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(text)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, struct_, 0, 0):
    sys.exit(99)
from harness.cli import main
sys.exit(main(["resume", "run", "--quiet"]))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in FLOCK,
    reason="not run: the kernel's filter of system calls is used, on two kinds of processors",
)
@pytest.mark.parametrize("error", [95, 38, 37, 22], ids=["ENOTSUP", "ENOSYS", "ENOLCK", "EINVAL"])
def test_a_kernel_that_refuses_flock_is_one_sentence(run, error):
    """The system call itself fails, as it does on a network drive without locks."""
    assert struct.calcsize("HxxxxxxQ") == 16 and ctypes.sizeof(ctypes.c_void_p) == 8
    done = subprocess.run(
        [sys.executable, "-c", NO_LOCKS, str(FLOCK[platform.machine()]), str(error)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 99:
        pytest.skip("not run: this kernel lets no process filter its system calls")
    assert done.returncode == 5, done.stderr
    assert "run/run.lock cannot be locked" in done.stderr
    assert "no file locks" in done.stderr and done.stderr.count("\n") == 1
