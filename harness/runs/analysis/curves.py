"""Training logs of runs, and the selected prompt's advantage over its rivals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from harness.runs.request import read_request
from harness.runs.run_dirs import runs_in
from harness.storage.atomic_files import lines
from harness.storage.final_agent import final_agent_of
from leaderboards.stats.selection_bias import Advantage, advantages


def run_dirs_below(path: Path) -> list[Path]:
    """The run directories in a folder, or in its subfolders."""
    if not path.is_dir():
        return []
    return runs_in(path) or sorted(p.parent for p in path.glob("*/*/config.toml"))


def rounds_of(run_dir: Path) -> list[Mapping[str, Any]]:
    """The lines of a run's rounds.jsonl."""
    return [cast(Mapping[str, Any], line) for _, line in lines(run_dir / "rounds.jsonl")]


def selected_advantage(run_dir: Path, rounds: Sequence[Mapping[str, Any]]) -> Advantage | None:
    """The selected prompt's advantage over its rivals; None without rivals or selected prompt."""
    read_request(run_dir)  # raises for a damaged run
    if not (run_dir / "champion.json").exists():
        return None
    return advantages(rounds).get(final_agent_of(run_dir).prompt.id)
