"""The run directories of a folder."""

from pathlib import Path

from harness.cli.commands.run import runs_in
from harness.errors import UsageError


def existing(folder: Path) -> list[Path]:
    """The runs in a folder, which must exist."""
    places = runs_in(folder) if folder.is_dir() else []
    if not places:
        near = sorted(str(p) for p in Path("runs").glob("*") if p.is_dir())[-5:]
        known = f" Latest: {', '.join(near)}." if near else ""
        raise UsageError(f"{folder} holds no run (no config.toml in it or below).{known}")
    return places
