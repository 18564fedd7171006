"""The code and machine that this process computes with, for the history of a run."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.settings.config import Config
from harness.system.hardware import cores
from leaderboards.records.details import Participant
from leaderboards.records.redact import redacted

_PACKAGES = (
    "espl-harness",
    "torch",
    "transformers",
    "peft",
    "trueskill",
    "mpmath",
    "gymnasium",
)


def this_participant(request: Config, iteration: int, engine: Mapping[str, str]) -> Participant:
    """This process; `iteration` is the first that it computes, `engine` the backend's releases."""
    commit, dirty = code_version()
    return Participant(
        iteration=iteration,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        starts=1,
        commit=commit,
        dirty=dirty,
        versions={name: redacted(text)[:200] for name, text in package_versions(engine).items()},
        machine=f"{platform.system()} {platform.machine()}, {cores()} cores",
        processor=_processor(),
        accelerator=_accelerator(request.model.device),
        device=request.model.device,
        threads=request.model.threads,
    )


def package_versions(engine: Mapping[str, str]) -> dict[str, str]:
    """Releases of Python and of the packages that decide numbers, and the backend's own."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            # Written down as well: that a package was missing can explain a difference.
            versions[name] = "not installed"
    # Last, because a backend knows best which release it runs on.
    versions.update(engine)
    return versions


def code_version() -> tuple[str, bool]:
    """The commit of this code, "" outside a checkout, and True if it has uncommitted changes."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != here.parents[2]:
            return "", False  # installed inside somebody else's repository
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return "", False


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        text = ""
    names = (line.partition(":")[2] for line in text.splitlines() if line.startswith("model name"))
    return redacted(" ".join((next(names, "") or platform.processor()).split()))[:200]


def _accelerator(device: str) -> str:
    torch = sys.modules.get("torch")  # a run that computes nothing itself does not load it
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_available():
        return ""
    return redacted(str(torch.cuda.get_device_name()))[:200]
