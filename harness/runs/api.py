"""`harness.run(...)`: the command line's work, from Python."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.runs.executors import perform
from harness.runs.resolve import Requested, resolve
from harness.runs.run_dirs import laid_out, new_folder
from leaderboards.boards.rank import boards
from leaderboards.boards.render import markdown
from leaderboards.records.entry import Entry


@dataclass(frozen=True)
class Summary:
    """Results of `harness.run`: an entry and a run directory for each run, and notes."""

    entries: tuple[Entry, ...]
    folders: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The board as Markdown."""
        return markdown(boards(self.entries))


def run(
    *,
    env: str,
    methods: Sequence[str],
    model: str | None,
    seeds: Sequence[int],
    preset: str | None,
    episodes: int | None,
    test_tasks: int | None,
    samples: int | None,
    data_dir: str | Path | None,
    run_dir: str | Path | None,
    settings: Sequence[str],
) -> Summary:
    """Resolve, run, read back; see `harness.run`."""
    requested = Requested(
        env=env,
        methods=(methods,) if isinstance(methods, str) else tuple(methods),
        model=model,
        seeds=tuple(seeds),
        preset=preset,
        sets=tuple(settings),
        episodes=episodes,
        test_tasks=test_tasks,
        samples=samples,
        data_dir=Path(data_dir) if data_dir else None,
    )
    resolved = resolve(requested)
    folder = Path(run_dir) if run_dir else new_folder(env)
    with laid_out(resolved.configs, folder) as folders:
        entries = perform(folders, quiet=True, stop=lambda: False)
    return Summary(tuple(entries), tuple(folders), resolved.notes)
