"""The owner of a container, a process of a machine, so that leftovers of dead ones are known.

A process id alone is not enough, because ids are used again: its start time belongs to it. On
another machine, or in another process namespace, ids mean something else: nobody there is judged.
"""

import hashlib
import os
import platform
import subprocess
import time
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path

OWNER = "espl-harness.owner"
MACHINE = "espl-harness.system.hardware"
UNTIL = "espl-harness.until"


@cache
def machine() -> str:
    """A hash of this boot of this machine and its process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        place = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        place = platform.node()
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def start_time(pid: int) -> str:
    """The start time of a process, in the unit of the system; "" where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        # Where there is no /proc at all, as on macOS, ps is asked instead.
        return "" if Path("/proc/self/stat").exists() else _start_by_ps(pid)
    except ProcessLookupError:
        return ""
    # The second field is the program's name in brackets and may hold anything, brackets included.
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended, though its number is still taken. The start time is field 22 of proc(5);
    # the first two are cut off.
    return "" if fields[0] in "ZX" else fields[19]


def _start_by_ps(pid: int) -> str:
    told = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return "".join(c if c.isalnum() else "_" for c in told.stdout.strip())


@cache
def _identity(pid: int) -> str:
    return f"{pid}-{start_time(pid)}-{uuid.uuid4().hex[:12]}"


def identity() -> str:
    """This process: id, start time, and a random part. A forked child has its own."""
    return _identity(os.getpid())


def labels(life_seconds: int) -> dict[str, str]:
    """The labels of a container or volume of this process; see `orphaned`."""
    until = int(time.time()) + life_seconds
    return {OWNER: identity(), MACHINE: machine(), UNTIL: str(until)}


def orphaned(marks: Mapping[str, str]) -> bool:
    """True where the owner that these labels name is gone.

    On this machine: the process is gone, or its id belongs to another one. From elsewhere: its
    time is over, since then nothing in it can be running.
    """
    if marks.get(MACHINE) != machine():
        until = marks.get(UNTIL, "")
        # A minute's leave for clocks of two machines that do not agree.
        return until.isdecimal() and time.time() > int(until) + 60
    pid, _, rest = marks.get(OWNER, "").partition("-")
    started = rest.rpartition("-")[0]
    return not pid.isdecimal() or not started or start_time(int(pid)) != started
