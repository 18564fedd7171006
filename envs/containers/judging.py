"""Judging a scratch folder after its agent is gone: a trial of its files, then a hidden check.

Both happen in fresh containers over copies of the scratch in which only regular files exist. The
trial runs as the agent's user, so it may run the agent's programs; it knows no answers. The check
runs as another user, when nothing of the agent's is running any more, and runs nothing of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from envs.containers.archive import File, FileTree
from envs.containers.errors import SandboxError
from envs.containers.limits import HIDDEN, KEEPER, ContainerLimits
from envs.containers.sandbox import Sandbox

TRIAL = "/trial"
_SCRIPT = "run.sh"
_TRIAL_BYTES = 1 << 16
_SAID_BYTES = 600
_PAGE = 4096  # bytes of the least that a file takes in memory
_RIGHT, _WRONG = 0, 1


@dataclass(frozen=True, slots=True)
class HiddenCheck:
    """The hidden check of a task and its files, perhaps with a trial and files of its own.

    The check runs in the copy of the scratch; $CHECK names its folder, in which `trial.out` and
    `trial.status` tell what the trial wrote to standard output and how it ended (124: stopped).
    Status 0 is right, 1 is wrong, anything else is no verdict.
    """

    check: str
    files: Mapping[str, File]
    trial: str = ""
    trial_files: Mapping[str, File] | None = None


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """The verdict on a scratch folder, and the output of the check."""

    right: bool
    output_text: str


def run_check(
    hidden_check: HiddenCheck,
    image: str,
    limits: ContainerLimits,
    scratch: FileTree,
    seconds: float,
) -> CheckVerdict:
    """Judge a copy of a scratch; raises SandboxError where there is no verdict."""
    limits = with_room(limits, scratch)
    files = dict(hidden_check.files)
    if hidden_check.trial:
        out, status = _run_trial(hidden_check, image, limits, scratch, seconds)
        files |= {"trial.out": File(out), "trial.status": File(f"{status}\n".encode())}
    files[_SCRIPT] = File(hidden_check.check.encode())
    small = replace(limits, life_seconds=600, output_bytes=_SAID_BYTES)
    # The files are root's, who nobody in the container is: the check reads them and cannot change
    # them.
    with Sandbox(image, small, scratch, owner="0:0", hidden={HIDDEN: FileTree(files)}) as sandbox:
        output = sandbox.run(
            f"exec /bin/sh {HIDDEN}/{_SCRIPT}",
            seconds,
            user=KEEPER,
            environment={"CHECK": HIDDEN},
            last=True,
        )
    output_text = output.both.decode(errors="replace").strip()
    if output.status not in (_RIGHT, _WRONG):
        how = f"was stopped ({output.stopped})" if output.stopped else f"ended as {output.status}"
        raise SandboxError(
            f"The check {how} instead of ending as 0 (right) or 1 (wrong), so the episode has no "
            f"score. It said: {output_text[-300:] or 'nothing'}"
        )
    return CheckVerdict(output.status == _RIGHT, output_text)


def with_room(limits: ContainerLimits, scratch: FileTree) -> ContainerLimits:
    """Limits under which a copy of a scratch fits, and a check can write as much again.

    A copy may take more than the original: links become files, and every file whole pages.
    """
    pages = sum(-(-len(file.content) // _PAGE) for file in scratch.files.values())
    entries = len(scratch.files) + len(scratch.folders)
    # Whole pages and whole megabytes: -(-a // b) rounds up.
    megabytes = -(-(pages + entries) * _PAGE >> 20)
    return replace(
        limits,
        memory_mb=limits.memory_mb + megabytes,
        scratch_mb=limits.scratch_mb + megabytes,
        scratch_files=limits.scratch_files + entries,
    )


def _run_trial(
    hidden_check: HiddenCheck,
    image: str,
    limits: ContainerLimits,
    scratch: FileTree,
    seconds: float,
) -> tuple[bytes, int]:
    """Standard output and status of the trial; 124 where it had to be stopped."""
    files = {**(hidden_check.trial_files or {}), _SCRIPT: File(hidden_check.trial.encode())}
    roomy = replace(limits, life_seconds=600, output_bytes=_TRIAL_BYTES)
    with Sandbox(image, roomy, scratch, hidden={TRIAL: FileTree(files)}) as sandbox:
        output = sandbox.run(
            f"exec /bin/sh {TRIAL}/{_SCRIPT}", seconds, environment={"TRIAL": TRIAL}
        )
    # 124 is how the tool timeout reports it, so a check script reads it as usual.
    return output.out, 124 if output.status is None else output.status
