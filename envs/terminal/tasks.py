"""The shell tasks: generated from a fixed recipe, or read from a user's folder.

A folder of tasks:

    FOLDER/train/NAME/task.toml     instruction = "…"   and, if wanted, image = "…"
                     /files/        what the agent finds in /work
                     /check.sh      decides: status 0 is right, 1 is wrong, others are no verdict
                     /check/        files beside the check, in $CHECK            (optional)
                     /trial.sh      runs what the agent made, as the agent       (optional)
                     /trial/        files beside the trial, in $TRIAL            (optional)
                     /solution.sh   commands that solve the task                 (optional)
                     /image/        a Dockerfile and its context                 (optional)
    FOLDER/validation/…   FOLDER/test/…

Refused: links and special files, tasks that two splits share, files that do not belong there.
"""

import hashlib
import random
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from envs.containers.archive import File, FileTree
from envs.containers.judging import HiddenCheck
from envs.errors import DataMalformed, DataUnavailable
from envs.fingerprint import digest
from envs.terminal.broken_scripts import script
from envs.terminal.task_kinds import (
    Kind,
    TaskDraft,
    columns,
    config,
    count_lines,
    distinct,
    find_largest,
    find_list,
    find_word,
    rename,
    replace_word,
    sort_unique,
    sum_column,
)
from envs.text_env import SPLITS, Split

GENERATOR_VERSION = "1"
KINDS: tuple[Kind, ...] = (
    find_word,
    count_lines,
    sort_unique,
    script,
    find_largest,
    sum_column,
    replace_word,
    config,
    find_list,
    distinct,
    columns,
    rename,
)
SIZES: Mapping[Split, int] = {"train": 240, "validation": 60, "test": 120}
_PARTS = {"task.toml", "files", "check.sh", "check", "trial.sh", "trial", "solution.sh", "image"}
# Files that judging itself puts beside a check or a trial.
_RESERVED = {"run.sh", "trial.out", "trial.status"}


@dataclass(frozen=True, slots=True)
class ShellTask:
    """A task with a name. `image` names one that is there, `recipe` a folder with a Dockerfile;
    where both are empty the tiny image serves. `solution` is "" where none is known.
    """

    id: str
    draft: TaskDraft
    image: str = ""
    recipe: Path | None = None
    recipe_files: FileTree = field(default_factory=FileTree)

    def content(self) -> str:
        """The hash of everything that decides what is asked and how it is scored."""
        hidden_check = self.draft.hidden_check
        return digest(
            [
                self.agent_hash(),
                [hidden_check.check, hidden_check.trial],
                [
                    _hashes(FileTree(hidden_check.files)),
                    _hashes(FileTree(hidden_check.trial_files or {})),
                ],
            ]
        )

    def agent_hash(self) -> str:
        """The hash of what the agent meets: two tasks with the same are the same task."""
        image = self.image or _hashes(self.recipe_files)
        return digest([self.draft.instruction, _hashes(self.draft.tree), image])


def _hashes(tree: FileTree) -> list[list[object]]:
    return [
        [path, hashlib.sha256(file.content).hexdigest(), file.executable]
        for path, file in sorted(tree.files.items())
    ] + [[folder] for folder in sorted(tree.folders)]


@cache
def generated() -> Mapping[Split, tuple[ShellTask, ...]]:
    """All tasks that are made here: kinds take turns, and no task is met twice in any split."""
    met: set[str] = set()
    made: dict[Split, tuple[ShellTask, ...]] = {}
    for split in SPLITS:
        made[split] = tuple(_new(split, index, met) for index in range(SIZES[split]))
    return made


def _new(split: Split, index: int, met: set[str]) -> ShellTask:
    kind = KINDS[index % len(KINDS)]
    attempt = 0
    while True:
        # A generator of its own for each task, so none depends on how much another drew. A text as
        # seed goes through SHA-512: the same on every machine, whatever PYTHONHASHSEED is.
        rng = random.Random(f"terminal {GENERATOR_VERSION} {split} {index} {attempt}")
        task = ShellTask(f"terminal:{split}:{index}:{kind.__name__}", kind(rng))
        if task.agent_hash() not in met:
            met.add(task.agent_hash())
            return task
        attempt += 1


def from_folder(folder: Path) -> Mapping[Split, tuple[ShellTask, ...]]:
    """The tasks of a folder in the order of their names; raises DataError naming the file."""
    if not folder.is_dir():
        raise DataUnavailable(
            f"There is no folder {folder} with shell tasks; give one with train/NAME/task.toml, "
            "as docs/terminal.md describes."
        )
    read: dict[Split, tuple[ShellTask, ...]] = {}
    met: dict[str, str] = {}
    for split in SPLITS:
        places = sorted(p for p in (folder / split).glob("*") if p.is_dir())
        read[split] = tuple(_task(place, f"{split}/{place.name}") for place in places)
        for task in read[split]:
            other = met.setdefault(task.agent_hash(), task.id)
            if other != task.id:
                raise DataMalformed(f"{other} and {task.id} are the same task; remove one of them.")
    if not any(read.values()):
        raise DataUnavailable(
            f"{folder} holds no shell task; add one as train/NAME with task.toml, files and "
            "check.sh, as docs/terminal.md describes."
        )
    return read


def _task(place: Path, id: str) -> ShellTask:
    unknown = sorted({p.name for p in place.iterdir()} - _PARTS)
    if unknown:
        raise DataMalformed(
            f"{id} holds '{unknown[0]}', which no task has; known are {', '.join(sorted(_PARTS))}."
        )
    settings = _settings(place / "task.toml", id)
    recipe = place / "image"
    if recipe.exists() and (settings.get("image") or not (recipe / "Dockerfile").is_file()):
        raise DataMalformed(
            f"{id}: the folder image needs a Dockerfile, and task.toml no image; keep one of both."
        )
    hidden_check = HiddenCheck(
        _script(place / "check.sh", id),
        _beside(place / "check", id),
        _script(place / "trial.sh", id) if (place / "trial.sh").exists() else "",
        _beside(place / "trial", id),
    )
    solution = place / "solution.sh"
    draft = TaskDraft(
        settings["instruction"],
        _tree(place / "files", id),
        hidden_check,
        _script(solution, id) if solution.exists() else "",
    )
    files = _tree(recipe, id)
    return ShellTask(
        f"terminal:{id}", draft, settings.get("image", ""), recipe if files.files else None, files
    )


def _settings(path: Path, id: str) -> dict[str, str]:
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataMalformed(
            f'{id}/task.toml cannot be read ({error}); it needs a line: instruction = "...".'
        ) from error
    unknown = sorted(set(read) - {"instruction", "image"})
    wrong = [key for key, value in read.items() if not isinstance(value, str) or not value.strip()]
    if unknown or wrong or "instruction" not in read:
        raise DataMalformed(
            f"{id}/task.toml takes instruction and image, both text and the first required; "
            f"look at {', '.join(unknown or wrong) or 'instruction, which is missing'}."
        )
    return read


def _script(path: Path, id: str) -> str:
    if path.is_symlink() or not path.is_file():
        raise DataMalformed(f"{id}/{path.name} must be a regular file; write it, or copy it there.")
    return path.read_text(encoding="utf-8")


def _beside(folder: Path, id: str) -> Mapping[str, File]:
    files = _tree(folder, id).files
    taken = sorted(_RESERVED & set(files))
    if taken:
        raise DataMalformed(f"{id}/{folder.name}/{taken[0]} is a name of ours; rename it.")
    return files


def _tree(folder: Path, id: str) -> FileTree:
    """A folder as it is; links would bring in files from outside and are refused."""
    files: dict[str, File] = {}
    folders: list[str] = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        inside = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise DataMalformed(f"{id}/{folder.name}/{inside} is a link or no regular file.")
        if path.is_dir():
            folders.append(inside)
        else:
            files[inside] = File(path.read_bytes(), bool(path.stat().st_mode & 0o100))
    if folder.is_symlink():
        raise DataMalformed(f"{id}/{folder.name} is a link; put the folder itself there.")
    return FileTree(files, tuple(folders))
