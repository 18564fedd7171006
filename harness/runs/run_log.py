"""The log of a run as plain values, for the site of leaderboards.

Observations are included only if the environment allows its texts to be published; if that cannot
be found out, they are left out.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from harness.errors import HarnessError
from harness.runs.history.logged import read_prompts, read_rounds
from harness.runs.history.texts import may_publish
from harness.runs.request import read_request
from harness.storage.atomic_files import whole_lines
from harness.storage.checkpoint import UNREADABLE
from harness.storage.final_agent import final_agent_of
from harness.storage.transcript import status
from leaderboards.records.strict_json import RecordError
from leaderboards.site import EpisodeLog, RunLog

Record = Mapping[str, Any]


_EACH = 3  # correct training episodes shown for each round, and as many incorrect ones


_MOST = 600  # training episodes shown of a run


def read_log(entry: Path, trusted: tuple[str, ...] = ()) -> RunLog | None:
    """The log of the run directory that an entry file lies in; None if it lies elsewhere.

    `trusted` names modules whose environments may be imported to find out whether their texts may
    be published.

    Raises:
        RecordError: if the run is damaged.
    """
    run_dir = entry.parent
    if entry.name != "entry.json" or not (run_dir / "config.toml").is_file():
        return None
    try:
        request = read_request(run_dir)
        texts = may_publish(request, trusted)
        finished = (run_dir / "champion.json").is_file()
        training, trained = _training(run_dir / "episodes.jsonl", texts)
        return RunLog(
            rounds=tuple(read_rounds(run_dir / "rounds.jsonl")),
            prompts=tuple(read_prompts(run_dir / "population.jsonl")),
            selected=final_agent_of(run_dir).prompt.id if finished else "",
            tests=tuple(
                _episode(cast(Record, line), texts) for line in whole_lines(run_dir / "test.jsonl")
            ),
            training=training,
            trained=trained,
            texts=texts,
        )
    except (HarnessError, OSError, *UNREADABLE) as error:
        what = str(error) or type(error).__name__
        problem = f"lies in a damaged run ({what.rstrip('.')}); remove it, or its config.toml"
        raise RecordError(problem, source=str(entry)) from error


def _training(path: Path, texts: bool) -> tuple[tuple[EpisodeLog, ...], int]:
    """The first correct and the first other episodes of each round, and the total count."""
    chosen: list[EpisodeLog] = []
    seen: dict[tuple[int, bool], int] = {}
    count = 0
    for line in whole_lines(path):
        count += 1
        e = cast(Record, line)
        kind = (int(e["round"]), bool(e["success"]))
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= _EACH:
            chosen.append(_episode(e, texts))
    # Thinned evenly, so that the last rounds are shown too.
    step = -(-len(chosen) // _MOST) or 1
    return tuple(chosen[::step]), count


def _episode(e: Record, texts: bool) -> EpisodeLog:
    verdict = status(str(e["ending"]))
    turns = [(str(t["observation"]), str(t["reply"])) for t in e["turns"]]
    first = turns[0][0] if turns else ""
    # Where its text may not be shown, a task can still be told from another.
    hashed = hashlib.sha256(first.encode("utf-8", "surrogatepass")).hexdigest()
    return EpisodeLog(
        round=int(e["round"]) if "round" in e else None,
        prompt=str(e.get("prompt", "")),
        task=str(e["task"]),
        sample=int(e["sample"]),
        status=verdict,
        reward=None if e["reward"] is None else float(e["reward"]),
        success=bool(e["success"]) if verdict != "unscored" else None,
        tokens=int(e["sampled"]),
        turns=tuple((seen if texts else "", completion) for seen, completion in turns),
        feedback=str(e["error"] or e["feedback"]) if texts else "",
        task_hash="" if texts else hashed,
    )
