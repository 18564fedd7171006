"""Shell tasks written out as task folders of Harbor: `python -m envs.terminal.harbor_format DIR`.

What the agent finds, what is asked, and what decides are the same. Harbor's tests run in the
agent's own container, not in a fresh one as here.
"""

import argparse
import json
from pathlib import Path

from envs.containers.archive import File, FileTree
from envs.errors import EnvError
from envs.terminal.tasks import ShellTask, generated
from envs.text_env import SPLITS, Split

_TOML = """schema_version = "1.4"

[metadata]
split = {split}
source = {id}

[verifier]
timeout_sec = 120

[environment]
network_mode = "no-network"
workdir = "/work"
"""
_TRIAL = """cp -R /work /tmp/tried && cd /tmp/tried
TRIAL=/tests/trial timeout 30 /bin/sh /tests/trial/run.sh > /tests/check/trial.out
status=$?
case $status in 137|143) status=124 ;; esac
echo $status > /tests/check/trial.status
"""
_TEST = """#!/bin/sh
# Status 0 of the check is right, 1 is wrong; any other leaves no reward, so nothing is scored.
{trial}cp -R /work /tmp/judged && cd /tmp/judged
CHECK=/tests/check /bin/sh /tests/check/run.sh
case $? in
  0) echo 1 > /logs/verifier/reward.txt ;;
  1) echo 0 > /logs/verifier/reward.txt ;;
esac
"""


def write_task(task: ShellTask, split: Split, folder: Path) -> Path:
    """Write one task; returns its folder.

    Raises:
        EnvError: It has a Dockerfile of its own, or the folder is there already.
    """
    if task.recipe is not None:
        raise EnvError(f"{task.id} has a Dockerfile of its own; write its Harbor folder by hand.")
    place = folder / task.id.replace("/", "-").replace(":", "-")
    if place.exists():
        raise EnvError(f"{place} is there already; name another folder.")
    draft = task.draft
    hidden = draft.hidden_check
    _write(place / "task.toml", _TOML.format(split=json.dumps(split), id=json.dumps(task.id)))
    _write(place / "instruction.md", f"Files are in /work. {draft.instruction}\n")
    recipe = f"FROM {task.image or 'busybox'}\nWORKDIR /work\nCOPY files/ /work/\n"
    _write(place / "environment" / "Dockerfile", recipe)
    _write_tree(place / "environment" / "files", draft.tree)
    checked = {**hidden.files, "run.sh": File(hidden.check.encode())}
    _write_tree(place / "tests" / "check", FileTree(checked))
    if hidden.trial:
        tried = {**(hidden.trial_files or {}), "run.sh": File(hidden.trial.encode())}
        _write_tree(place / "tests" / "trial", FileTree(tried))
    _write(place / "tests" / "test.sh", _TEST.format(trial=_TRIAL if hidden.trial else ""))
    if draft.solution:
        script = f"#!/bin/sh\ncd /work\n{draft.solution}\n"
        _write(place / "solution" / "solve.sh", script)
    return place


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _write_tree(folder: Path, tree: FileTree) -> None:
    folder.mkdir(parents=True)
    for name in tree.folders:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, file in tree.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.content)
        (folder / name).chmod(0o755 if file.executable else 0o644)


def main() -> None:
    """Write the first generated tasks of each split."""
    parser = argparse.ArgumentParser(description="Write shell tasks as task folders of Harbor.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", type=int, default=12, help="tasks of each split")
    given = parser.parse_args()
    written = [
        write_task(task, split, given.folder)
        for split in SPLITS
        for task in generated()[split][: given.tasks]
    ]
    print(f"{len(written)} tasks are in {given.folder}")


if __name__ == "__main__":
    main()
