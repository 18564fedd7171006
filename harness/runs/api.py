"""The command line's work from Python: `harness.run`, `load`, `resume` and `compare`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.callbacks import Callback
from harness.errors import UsageError
from harness.runs.executors import perform
from harness.runs.resolve import Requested, resolve
from harness.runs.results.differences import Differences, compare_methods
from harness.runs.results.results import Results
from harness.runs.run_dirs import existing, laid_out, latest, new_folder
from harness.settings.sources import Scalar
from leaderboards.records.store import find_entries

Summary = Results


def run(
    *,
    env: str | None,
    methods: str | Sequence[str],
    model: str | None,
    seeds: Sequence[int],
    preset: str | None,
    config: str | Path | Mapping[str, Mapping[str, Scalar]] | None,
    prompt: str | Path | None,
    episodes: int | None,
    test_tasks: int | None,
    samples: int | None,
    data_dir: str | Path | None,
    run_dir: str | Path | None,
    settings: Sequence[str],
    trackers: Sequence[str],
    callbacks: Sequence[Callback],
    progress: bool,
) -> Results:
    """Resolve, run, read back; see `harness.run`."""
    requested = Requested(
        env=env,
        methods=(methods,) if isinstance(methods, str) else tuple(methods),
        model=model,
        seeds=tuple(seeds),
        preset=preset,
        config=Path(config) if isinstance(config, str) else config,
        prompt=prompt,
        sets=tuple(settings),
        episodes=episodes,
        test_tasks=test_tasks,
        samples=samples,
        data_dir=Path(data_dir) if data_dir else None,
    )
    resolved = resolve(requested)
    folder = Path(run_dir) if run_dir else new_folder(resolved.configs[0].env.name)
    with laid_out(resolved.configs, folder) as folders:
        return _perform(folders, trackers, callbacks, progress, resolved.notes)


def resume(
    folder: str | Path | None,
    trackers: Sequence[str],
    callbacks: Sequence[Callback],
    progress: bool,
) -> Results:
    """Continue the unfinished runs in a folder; see `harness.resume`."""
    found = existing(Path(folder) if folder else latest())
    return _perform(found, trackers, callbacks, progress)


def _perform(
    folders: Sequence[Path],
    trackers: Sequence[str],
    callbacks: Sequence[Callback],
    progress: bool,
    notes: tuple[str, ...] = (),
) -> Results:
    names = (trackers,) if isinstance(trackers, str) else tuple(trackers)
    entries = perform(folders, not progress, lambda: False, names, callbacks=tuple(callbacks))
    return Results(tuple(entries), tuple(folders), notes)


def load(paths: Sequence[str | Path]) -> Results:
    """Read finished runs and entries; see `harness.load`."""
    given = [Path(path) for path in paths] or [latest()]
    missing = [str(path) for path in given if not path.exists()]
    if missing:
        raise UsageError(f"{', '.join(missing)} does not exist; name files or folders of results.")
    found = find_entries(given)
    entries, folders = [], []
    for one in found.stored:
        entries.append(one.entry)
        run = one.path.parent
        folders.append(run if (run / "config.toml").is_file() else one.path)
    return Results(tuple(entries), tuple(folders), found.problems)


def compare(
    methods: Sequence[str | Path], within: str | Path | None, seeds: Sequence[int]
) -> Differences:
    """Compare methods with the first; see `harness.compare`."""
    return compare_methods(methods, within, seeds)
