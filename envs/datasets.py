"""Competition problems from a folder of JSONL or from the Hugging Face Hub.

Rows become (problem, answer) whatever the source calls its columns; ids and order are dropped,
since the content alone decides which task is which. No Hub revision is ever named: the content
is checked by fingerprint instead.
"""

import json
import os
import random
import re
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from envs.errors import DataMalformed, DataUnavailable
from envs.fingerprint import content_fingerprint

Row = tuple[str, str]  # problem, answer
LoadDataset = Callable[[str], Mapping[str, Iterable[Mapping[str, Any]]]]
_PROBLEM_COLUMNS = ("problem", "question", "prompt")
_ANSWER_COLUMNS = ("answer", "final_answer", "ground_truth", "reward_model")
_PROBE_SECONDS = 10.0
_MOST_LISTED = 1 << 26  # bytes of a data set's listing
_DAPO_FRAME = re.compile(
    r"\ASolve the following math problem step by step\.[^\n]*\n\n|"
    r"\n\nRemember to put your answer on its own line after \"Answer:\"\.?\s*\Z"
)


@dataclass(frozen=True, slots=True)
class DataSource:
    """One pinned file: its name in a folder, its Hub repository, its size and content hash."""

    file: str
    hub: str
    rows: int
    fingerprint: str
    recipe: Callable[[list[Row]], list[Row]] | None = None

    def differences(self, rows: list[Row], where: str) -> list[str]:
        """One line for each way in which rows are not what was pinned."""
        found = content_fingerprint(rows)
        if found == self.fingerprint:
            return []
        count = "" if len(rows) == self.rows else f"{len(rows)} rows instead of {self.rows}, "
        return [f"{where}: {count}fingerprint {found[:12]} instead of {self.fingerprint[:12]}"]


def dapo_100(rows: list[Row]) -> list[Row]:
    """DAPO-100: the unique prompts in the data set's order, shuffled by Python's generator seeded
    with 42, the first hundred (the recipe of Training-Free GRPO).
    """
    first: dict[str, str] = {}
    for problem, answer in rows:
        first.setdefault(problem, answer)
    unique = list(first.items())
    random.Random(42).shuffle(unique)
    return unique[:100]


def _text(value: Any) -> str:
    """A cell as text: chat messages and reward records are unwrapped."""
    if isinstance(value, list | tuple) and value:
        value = value[0]
    if isinstance(value, Mapping):
        value = value.get("content", value.get("ground_truth"))
    if value is None or isinstance(value, bool | list | tuple | Mapping):
        return ""
    return _DAPO_FRAME.sub("", str(value)).strip()


def row_of(cells: Mapping[str, Any], where: str) -> Row:
    """The problem and the answer of a table row; raises DataMalformed naming what is missing."""
    found = []
    for columns in (_PROBLEM_COLUMNS, _ANSWER_COLUMNS):
        text = next((t for c in columns if (t := _text(cells.get(c)))), "")
        if not text:
            raise DataMalformed(
                f"{where} has no {columns[0]}: expected text in one of the fields"
                f" {', '.join(columns)}, found the fields {', '.join(sorted(cells)) or 'none'}."
            )
        found.append(text)
    return found[0], found[1]


def objects(path: Path, absent: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a JSONL file, each with where it stands; blank lines are passed over.

    Raises DataUnavailable, saying `absent`, where there is no such file; DataMalformed with the
    line where one is no JSON object.
    """
    try:
        # utf-8-sig drops the byte order mark that some editors write. Not splitlines, which also
        # breaks a line at U+2028, and JSON texts may hold that.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise DataUnavailable(absent) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataMalformed(f"{path} cannot be read as UTF-8 text: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataMalformed(f"{where} is not JSON: {error}.") from error
        if not isinstance(cells, dict):
            raise DataMalformed(f"{where} is not a JSON object.")
        yield cells, where


def read_jsonl(path: Path) -> list[Row]:
    """The rows of a JSONL file; DataUnavailable if there is none, DataMalformed with the line."""
    absent = (
        f"There is no file {path.name} in {path.parent}; expected one JSON object a line with"
        " the fields problem and answer ('harness env show NAME' lists files and fields)."
    )
    return [row_of(cells, where) for cells, where in objects(path, absent)]


def read_hub(source: DataSource, load_dataset: LoadDataset | None = None) -> list[Row]:
    """The rows of all splits of a Hub data set, after the source's recipe.

    What the real client once gave is kept in `cache_folder`, so that later runs need no network. A
    copy that cannot be read is fetched again, and so is one whose content is not the pinned one if
    the Hub has another revision by now.

    One quick probe comes before the client, which retries for half a minute where there is none.

    Raises:
        DataUnavailable: The Hub cannot be reached; says what was tried.
        DataMalformed: What it has cannot be read.
    """
    if load_dataset is not None:
        return _downloaded(source, load_dataset)
    kept = kept_copy(source)
    bad = ""
    if kept.exists():
        try:
            rows = read_jsonl(kept)
        except DataMalformed as error:
            bad = f"the copy {kept} cannot be read ({error}), and "
        else:
            if not source.differences(rows, "") or not _is_stale(source, kept):
                return rows
            bad = f"the copy {kept} is of an older revision, and "
    try:
        rows = _downloaded(source, _real_load_dataset(source.hub))
    except DataUnavailable as error:
        raise DataUnavailable(f"{bad}{error}") from error
    _keep(rows, kept)
    _revision_file(kept).write_text(hub_revision(source.hub), encoding="utf-8")
    return read_jsonl(kept)


def kept_copy(source: DataSource) -> Path:
    """The file in which the rows of a Hub data set are kept."""
    return cache_folder() / f"{Path(source.file).stem}.hub.jsonl"


def _revision_file(kept: Path) -> Path:
    return kept.with_suffix(".revision")


def _is_stale(source: DataSource, kept: Path) -> bool:
    """True if the Hub has another revision than the copy's; False where it does not say."""
    file = _revision_file(kept)
    known = file.read_text(encoding="utf-8") if file.exists() else ""
    now = hub_revision(source.hub)
    return bool(now) and now != known


def hub_revision(repository: str) -> str:
    """The newest revision of a data set on the Hub; "" where it does not say."""
    if _offline():
        return ""
    try:
        listing = json.loads(probe_hub(repository))
    except (DataUnavailable, ValueError, RecursionError):
        return ""
    revision = listing.get("sha") if isinstance(listing, dict) else None
    return revision if isinstance(revision, str) else ""


def cache_folder() -> Path:
    """The folder of downloaded rows; delete a file there to download it again."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "espl-harness" / "data"


def _keep(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.writelines(json.dumps({"problem": p, "answer": a}) + "\n" for p, a in rows)
    os.replace(file.name, path)  # a reader sees all of it or none


def _downloaded(source: DataSource, load_dataset: LoadDataset) -> list[Row]:
    try:
        tables = load_dataset(source.hub)
    except Exception as error:  # the client raises a dozen kinds; all mean: not from there
        raise DataUnavailable(f"loading '{source.hub}' from the Hub failed: {error}") from error
    rows = [
        row_of(cells, f"{source.hub}, split {split}, row {number}")
        for split, table in tables.items()
        for number, cells in enumerate(table)
    ]
    return source.recipe(rows) if source.recipe else rows


def _real_load_dataset(repository: str) -> LoadDataset:
    if not _offline():
        probe_hub(repository)
    import datasets

    load: LoadDataset = datasets.load_dataset
    return load


def _offline() -> bool:
    values = [os.environ.get(v, "") for v in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")]
    return any(value.upper() in {"1", "ON", "YES", "TRUE"} for value in values)


def probe_hub(repository: str, seconds: float = _PROBE_SECONDS) -> bytes:
    """Ask the Hub once for the data set's listing; raises DataUnavailable within `seconds`."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{endpoint}/api/datasets/{repository}"
    listing: list[bytes] = []
    problem: list[str] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds) as answer:
                listing.append(answer.read(_MOST_LISTED))
        except (OSError, ValueError, HTTPException) as error:
            problem.append(str(error))

    # A thread, since no timeout covers name resolution.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    if not listing:
        reason = problem[0] if problem else f"no answer within {seconds:g} s"
        raise DataUnavailable(f"{url} could not be reached: {reason}")
    return listing[0]
