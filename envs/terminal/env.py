"""Shell tasks in real containers: the agent writes commands, sees what they print, and is judged by
the files it leaves behind.

What runs an agent's command, and what keeps it from everything else, is envs.containers; which
tasks there are is envs.terminal.tasks. A container is started with the first command and gone with
the episode. The machine's failures are raised, never scored; what an agent brings about is scored.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from envs.containers.archive import FileTree, TooMuch
from envs.containers.daemon import connect
from envs.containers.errors import Exhausted, SandboxError
from envs.containers.image import built_image, busybox_version, present_image, shell_image
from envs.containers.judging import CheckVerdict, run_check
from envs.containers.limits import ContainerLimits
from envs.containers.sandbox import Sandbox
from envs.containers.streams import Output
from envs.errors import EnvError
from envs.fingerprint import digest
from envs.games.multi_turn_env import MultiTurnEnv
from envs.grading.thoughts import answer_part
from envs.terminal.fault import is_agents_doing, raise_fault
from envs.terminal.tasks import GENERATOR_VERSION, SIZES, ShellTask, from_folder, generated
from envs.text_env import SPLITS, Problem, Split
from envs.verdict import Verdict

SYSTEM_PROMPT = """\
You solve a task in a Linux shell. Files are in /work, where every command starts.
To run commands, write them in a block like this and nothing after it:
```sh
ls -l
```
You are then shown what they print. Nothing keeps running after them. When the task is solved, write
Done on a line of its own. Only regular files and folders in /work count."""

_OPENS = re.compile(r"[ \t]*```[ \t]*(?:sh|bash|shell)?[ \t]*")
_CLOSES = re.compile(r"[ \t]*```[ \t]*")
_DONE = re.compile(r"^[ \t*_]*+done[ \t]*+[.!]?[ \t*_]*$", re.IGNORECASE | re.MULTILINE)
_COMMAND_BYTES = 100_000
NO_ACTION = (
    "Nothing was run: the reply holds neither a block of commands, opened by ```sh and closed by "
    "``` on lines of their own, nor Done on a line of its own."
)
_CHECK_SECONDS = 30.0
# Docker itself refuses less than 6 MB.
_LEAST_MEMORY_MB = 8


@dataclass(frozen=True, slots=True)
class ShellAction:
    """The request in a reply: commands ("" for none), and whether it calls the task solved."""

    commands: str
    done: bool
    blocks: int


def parse_action(reply: str) -> ShellAction:
    """The first closed block of commands, and whether Done stands on a line outside of blocks.

    Thoughts are not said.
    """
    blocks, outside = _split_blocks(answer_part(reply).replace("\r\n", "\n").split("\n"))
    done = _DONE.search("\n".join(outside)) is not None
    return ShellAction(blocks[0] if blocks else "", done, len(blocks))


def _split_blocks(lines: list[str]) -> tuple[list[str], list[str]]:
    """The closed blocks of a reply, and the lines outside of them; one pass, however many open."""
    blocks: list[str] = []
    outside: list[str] = []
    start = -1
    for place, line in enumerate(lines):
        if start >= 0 and _CLOSES.fullmatch(line):
            blocks.append("".join(f"{inner}\n" for inner in lines[start + 1 : place]))
            outside.append("")
            start = -1
        elif start < 0 and _OPENS.fullmatch(line) and place + 1 < len(lines):
            start = place
        elif start < 0:
            outside.append(line)
    # What was opened and never closed is only text.
    return blocks, outside + (lines[start:] if start >= 0 else [])


def observation_text(output: Output, seconds: float) -> str:
    """The observation after a command: its output, without control characters, and its status."""
    text = output.both.decode(errors="replace").replace("\r\n", "\n")
    # Escape sequences in what a program prints must not reach anybody's terminal.
    clean = "".join(
        c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    lines = [clean.rstrip("\n")] if clean.strip() else ["[no output]"]
    if output.stopped == "time":
        lines.append(f"[stopped after {seconds:g} seconds]")
    elif output.stopped:
        lines.append("[stopped: too much output]")
    elif output.status:
        lines.append(f"[exit status {output.status}]")
    return "\n".join(lines)


class Terminal(MultiTurnEnv):
    """A shell task in a container, judged by a hidden check when the agent is done.

    Making an environment raises DockerUnavailable where no daemon can be used.

    Args:
        tasks: Folder of your own tasks; empty: tasks that the environment generates.
        image: Docker image, already present, for tasks that name none; empty: one with BusyBox
            only, built here.
        turns (at least 1; in completions): Completions of an episode at most.
        command_seconds (at least 1; in seconds): Time that one command may take.
        episode_seconds (at least 1; in seconds): Time that all commands of an episode may take
            together, without the agent's own time.
        memory_mb (at least 8; in MB): Memory limit of a container; its files in the working folder
            and /tmp count too.
        scratch_mb (at least 1; in MB): Size limit of a container's working folder.
    """

    name = "terminal"
    system_prompt = SYSTEM_PROMPT
    reply_tokens = 512
    grader_version = "check-2"
    unrepeatable = "its commands run in containers, where time and processes differ"
    side_by_side: int = 8
    """The number of episodes open at once: two cores start no more containers a second."""

    def __init__(
        self,
        *,
        split: Split = "train",
        tasks: str = "",
        image: str = "",
        turns: int = 12,
        command_seconds: float = 10.0,
        episode_seconds: float = 120.0,
        memory_mb: int = 64,
        scratch_mb: int = 16,
    ) -> None:
        super().__init__(split=split)
        _check_options(
            {"turns": turns, "memory_mb": memory_mb, "scratch_mb": scratch_mb},
            {"command_seconds": command_seconds, "episode_seconds": episode_seconds},
        )
        self._tasks = from_folder(Path(tasks)) if tasks else generated()
        self.redistributable = not tasks
        self._image, self._turns = image, turns
        self._seconds = (float(command_seconds), float(episode_seconds))
        self._limits = ContainerLimits(memory_mb=memory_mb, scratch_mb=scratch_mb)
        self._images: dict[str, str] = {}
        self._sandbox: Sandbox | None = None
        self._task: ShellTask | None = None
        self._turns_taken, self._seconds_spent = 0, 0.0
        connect()

    # The same instruction and solution are another task over other files.
    hides_state = True

    def size(self, split: Split) -> int:
        """240, 60 and 120 tasks where they are made here."""
        return len(self._tasks[split])

    def problem(self, split: Split, index: int) -> Problem:
        """One task; its answer is a solution in shell, "" where none is known."""
        task = self._tasks[split][index]
        return Problem(task.id, task.draft.instruction, task.draft.solution)

    def judge(self, reply: str, answer: str) -> NoReturn:
        """Not by replies: refused."""
        raise EnvError(
            "A shell task is judged by the files an episode leaves, which a reply alone does not "
            "tell; play the episode again."
        )

    def rules(self) -> str:
        """Every task's files and checks, all limits, and the tools agents and checks have."""
        contents = [[task.content() for task in self._tasks[split]] for split in SPLITS]
        named = sorted({t.image or self._image for s in SPLITS for t in self._tasks[s]} - {""})
        tiny = "" if self._image else f"busybox {busybox_version()}"
        # By id: a tag may be moved to another image.
        images = [tiny, *(present_image(connect(), name) for name in named)]
        limits = [asdict(self._limits), self._turns, list(self._seconds), _CHECK_SECONDS]
        return digest([GENERATOR_VERSION, contents, images, limits])

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """By construction, where the tasks are made here."""
        return {split: SIZES[split] for split in SPLITS}

    def start_episode(self, problem: Problem) -> None:
        """Forget the last episode, its container included."""
        self.close()
        tasks = self._tasks[self.split]
        self._task = next(task for task in tasks if task.id == problem.id)
        self._turns_taken, self._seconds_spent = 0, 0.0

    def respond(self, reply: str) -> str | Verdict:
        """Run what the reply asks for; a failure of the sandbox is raised and ends the episode."""
        self._turns_taken += 1
        parsed = parse_action(reply)
        text = NO_ACTION
        try:
            if parsed.blocks:
                text = self._run(parsed)
            return self._final_verdict() if parsed.done else text
        except Exhausted as error:
            self._abandon()
            return Verdict.wrong(f"Wrong: the commands used up {error}.")
        except Exception:
            self._abandon()
            raise

    def verdict_at_limit(self) -> Verdict | None:
        """The verdict on the files so far, once turns or time are used up."""
        if self._turns_taken < self._turns and self._seconds_spent < self._seconds[1]:
            return None
        try:
            return self._final_verdict()
        except Exception:
            self._abandon()
            raise

    def reference_reply(self) -> str:
        """The known solution, then Done; raises EnvError where a task of one's own has none."""
        if self._turns_taken:
            return "Done"
        if not self.current.answer:
            raise EnvError(f"{self.current.id} has no solution; add a solution.sh to it.")
        return f"```sh\n{self.current.answer}\n```"

    def feedback(self, verdict: Verdict, problem: Problem) -> str:
        """The output of the check and a solution; on the test split right or wrong alone."""
        if self.split == "test" or verdict.success:
            return super().feedback(verdict, problem)
        if not problem.answer:
            return verdict.feedback
        return f"{verdict.feedback} This would have solved it:\n{problem.answer}"

    def close(self) -> None:
        """Remove the container of an episode that is under way."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None

    def _run(self, parsed: ShellAction) -> str:
        # A program's argument cannot hold NUL, and lone surrogates cannot be sent.
        commands = parsed.commands.replace("\0", "").encode(errors="replace")
        if len(commands) > _COMMAND_BYTES:
            return f"Nothing was run: a block may hold {_COMMAND_BYTES} bytes."
        if self._sandbox is None:
            self._sandbox = self._untouched()
        seconds = max(0.1, min(self._seconds[0], self._seconds[1] - self._seconds_spent))
        try:
            output = self._sandbox.run(commands.decode(), seconds)
        except SandboxError as error:
            raise_fault(error, self._sandbox, lambda room: room.run("true", 30.0), self._untouched)
        self._seconds_spent += output.seconds
        text = observation_text(output, seconds)
        return (
            f"{text}\n[only the first of {parsed.blocks} blocks was run]"
            if parsed.blocks > 1
            else text
        )

    def _final_verdict(self) -> Verdict:
        """Copy the scratch, kill everything, and only then let the check see the copy."""
        # Before the first command there is no container: the files are still those of the task.
        scratch: FileTree = self._current_task.draft.tree
        try:
            if self._sandbox is not None:
                scratch = self._export(self._sandbox)
        except TooMuch as error:
            return Verdict.wrong(f"Wrong: /work holds {error}, which is not judged.")
        except Exhausted as error:
            return Verdict.wrong(f"Wrong: the commands used up {error}.")
        finally:
            self.close()
        try:
            check_verdict = self._check(scratch)
        except SandboxError as error:
            untouched = self._current_task.draft.tree
            if not is_agents_doing(lambda: self._check(scratch), lambda: self._check(untouched)):
                raise
            return Verdict.wrong(f"Wrong: what is in /work cannot be judged. {error}")
        if check_verdict.right:
            return Verdict.right()
        links = f" Left out, being no regular files: {len(scratch.left_out)}."
        return Verdict.wrong(
            f"Wrong. {check_verdict.output_text}{links if scratch.left_out else ''}".strip()
        )

    def _export(self, sandbox: Sandbox) -> FileTree:
        try:
            return sandbox.export()
        except SandboxError as error:
            raise_fault(error, sandbox, Sandbox.export, self._untouched)

    def _check(self, scratch: FileTree) -> CheckVerdict:
        hidden_check = self._current_task.draft.hidden_check
        image = self._image_for_task()
        return run_check(hidden_check, image, self._limits, scratch, _CHECK_SECONDS)

    def _untouched(self) -> Sandbox:
        return Sandbox(self._image_for_task(), self._limits, self._current_task.draft.tree)

    @property
    def _current_task(self) -> ShellTask:
        assert self._task is not None
        return self._task

    def _image_for_task(self) -> str:
        task, client = self._current_task, connect()
        key = task.image or (task.id if task.recipe else self._image)
        if key not in self._images:
            if task.recipe is not None:
                made = built_image(client, task.recipe, task.agent_hash())
            elif key:
                made = present_image(client, key)
            else:
                made = shell_image(client)
            self._images[key] = made
        return self._images[key]

    def _abandon(self) -> None:
        # The failure that is being raised says more than one of the removal, which the next
        # episode tries again, and the exit of this process.
        with suppress(SandboxError):
            self.close()


def _check_options(whole: Mapping[str, int], seconds: Mapping[str, float]) -> None:
    for name, number in whole.items():
        least = _LEAST_MEMORY_MB if name == "memory_mb" else 1
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise EnvError(f"{name} must be a whole number from {least} on, not {number!r}.")
    for name, limit in seconds.items():
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 1 <= limit < 1e5:
            raise EnvError(f"{name} must be a number of seconds from 1 on, not {limit!r}.")
