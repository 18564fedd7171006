"""The tasks of the reasoning-gym package as environments, such as `reasoning_gym/chain_sum`.

Tasks are easy in training and harder in the test: `level` picks the difficulty parameters of train
and validation from the package's own curriculum, `test_level` (one more where not given) those of
test; what is given as a further option replaces them on every split. Tasks without a curriculum
(acre, gsm_symbolic, list_functions) are the same on all splits.

No two splits share a question or a seed (see `streams`). Entries whose own reference
answer does not earn 1 are left out.

What counts of a reply is what follows its last "Answer:" (not the <answer> tags of the package): up
to the end of that line, or all of it where the reference answer has several lines. Without
"Answer:" it is the last line, or the whole reply. The reward is the package's own score, partial
ones too (some give 0.01 to 0.05 for any answer at all); success is a score of 1. Scorers run in
processes that can be killed. A reply on which the scorer twice takes more than its processor time,
though it scores the reference answer, is wrong; where the scorer fails otherwise, it is unscored.
"""

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from envs.errors import EnvError, UnknownEnv, UnknownOption, did_you_mean
from envs.fingerprint import digest
from envs.integrations.extras import installed, require
from envs.integrations.reasoning_gym.streams import (
    GENERATOR_VERSION,
    MAKE_SECONDS,
    StreamEntry,
    ask_package,
    stream,
    worker_pool,
)
from envs.text_env import SPLITS, Split, TextEnv
from envs.verdict import Verdict
from envs.workers.json_worker import SPENT, WorkerFailed

SCORE_SECONDS = 10.0  # of the scorer's own processor
WALL_SECONDS = 300.0
LONGEST_ANSWER = 50_000  # characters
_SIZES: Mapping[Split, int] = {"train": 200, "validation": 50, "test": 100}
_MARK = re.compile(r"(\*\*|__)?answer\s*:(\*\*|__)?", re.IGNORECASE)
_FENCE = re.compile(r"```[\w-]*\n(.*?)\n?```", re.DOTALL)


def stated_answer(reply: str, lines: bool) -> str:
    """The answer in a reply, of one line or of several; "" where there is none."""
    marks = list(_MARK.finditer(reply))
    answer_text = reply[marks[-1].end() :] if marks else reply
    wrapper = marks[-1][1] or "" if marks else ""
    answer_text = answer_text.strip()
    fenced = _FENCE.match(answer_text)
    if fenced:
        answer_text = fenced[1]
    if not lines:
        rows = answer_text.splitlines() or [""]
        answer_text = rows[0] if marks else rows[-1]
    answer_text = answer_text.strip()
    return answer_text.removesuffix(wrapper).strip() if wrapper else answer_text


def tasks() -> tuple[str, ...]:
    """The names of the package's tasks."""
    require("reasoning_gym", "reasoning-gym", "reasoning_gym")
    return tuple(ask_package({"ask": "tasks"}, MAKE_SECONDS)["tasks"])


@cache
def summaries() -> Mapping[str, str]:
    """One line on each task, by name, in the package's own words."""
    require("reasoning_gym", "reasoning-gym", "reasoning_gym")
    found = ask_package({"ask": "tasks"}, MAKE_SECONDS)["summaries"]
    return {str(name): str(text) for name, text in found.items()}


class ReasoningGym(TextEnv):
    """A task of the reasoning-gym package, easy in training and harder in the test.

    Any other option is a difficulty parameter of the task.

    Args:
        task: Name of the task.
        level (at least 0): Difficulty level of the train and validation splits.
        test_level (at least 0): Difficulty level of the test split; unset: one above level.
        train_size (at least 1; in tasks): Tasks of the train split.
        validation_size (at least 1; in tasks): Tasks of the validation split.
        test_size (at least 1; in tasks): Tasks of the test split.
    """

    name = "reasoning_gym"
    system_prompt = "Work it out, then end with Answer: and the answer in the form asked for."
    reply_tokens = 512

    def __init__(
        self,
        *,
        task: str,
        split: Split = "train",
        level: int = 0,
        test_level: int | None = None,
        train_size: int = _SIZES["train"],
        validation_size: int = _SIZES["validation"],
        test_size: int = _SIZES["test"],
        **parameters: Any,
    ) -> None:
        super().__init__(split=split)
        require("reasoning_gym", "reasoning-gym", f"reasoning_gym/{task}")
        self.name = f"reasoning_gym/{task}"
        self.grader_version = f"{installed('reasoning-gym')}/answer-2"
        sizes = {"train": train_size, "validation": validation_size, "test": test_size}
        levels = {"level": level, "test_level": level + 1 if test_level is None else test_level}
        for option, value in {**levels, **{f"{s}_size": n for s, n in sizes.items()}}.items():
            least = 0 if option in levels else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise EnvError(f"{option} must be a whole number from {least}, not {value!r}.")
        self._sizes, self.puzzle, self.parameters = sizes, task, parameters
        self.levels = {s: levels["test_level" if s == "test" else "level"] for s in sizes}
        self._check_task()

    def _job(self, split: Split) -> dict[str, Any]:
        return {"task": self.puzzle, "level": self.levels[split], "parameters": self.parameters}

    def _check_task(self) -> None:
        known = ask_package({"ask": "tasks"}, MAKE_SECONDS)
        if self.puzzle in known["refused"]:
            raise UnknownEnv(f"'{self.name}' is no world: {known['refused'][self.puzzle]}.")
        if self.puzzle not in known["tasks"]:
            raise UnknownEnv(
                f"reasoning-gym has no task '{self.puzzle}'."
                f" {did_you_mean(self.puzzle, known['tasks'])}"
            )
        response = ask_package({**self._job(self.split), "ask": "config", "seed": 0}, MAKE_SECONDS)
        if "unknown" in response:
            known_options = [
                "level",
                "test_level",
                *(f"{s}_size" for s in _SIZES),
                *response["known"],
            ]
            raise UnknownOption(
                f"Environment '{self.name}' has no option '{response['unknown']}'."
                f" {did_you_mean(response['unknown'], known_options)}"
            )
        if "invalid" in response:
            raise EnvError(
                f"Environment '{self.name}' refuses level {self.levels[self.split]} with"
                f" {self.parameters or 'no further options'}: {response['invalid']}. Change the"
                f" level"
                " or the difficulty parameters."
            )

    def size(self, split: Split) -> int:
        """The number of tasks, an option."""
        return self._sizes[split]

    def problem(self, split: Split, index: int) -> StreamEntry:
        """One entry of the package."""
        return stream(self._job(split), split, self.levels["train"]).entry(index)

    def judge(self, reply: str, answer: str) -> Verdict:
        """Score a reply to the task being played."""
        current = self.current
        assert isinstance(current, StreamEntry)
        return self.score(reply, current)

    def regrade(self, seed: int, reply: str) -> Verdict:
        """Score a stored reply to task `seed` again."""
        problem = self.task_at(seed)
        assert isinstance(problem, StreamEntry)
        return self.score(reply, problem)

    def score(self, reply: str, entry: StreamEntry) -> Verdict:
        """The verdict of the package's own scorer on the answer in a reply."""
        answer_text = stated_answer(reply, "\n" in entry.answer)
        if not answer_text:
            return Verdict.wrong("Wrong: the reply states no answer.")
        if len(answer_text) > LONGEST_ANSWER:
            return Verdict.wrong(f"Wrong: the answer is longer than {LONGEST_ANSWER} characters.")
        job = self._job(self.split) | {"seed": entry.seed, "index": entry.index, "ask": "score"}
        try:
            try:
                response = _ask_scorer(job, answer_text)
            except _EndlessError:
                try:
                    _ask_scorer(job, entry.answer)
                except _EndlessError as failure:
                    why = f"{failure}, as it does on the reference answer alone"
                    return Verdict.unscored(f"the scorer of {self.name} failed: {why}")
                response = _ask_scorer(job, answer_text)
        except WorkerFailed as failure:
            return Verdict.unscored(f"the scorer of {self.name} failed: {failure}")
        except _EndlessError as failure:
            return Verdict.endless(f"Wrong: the scorer does not end: {failure}, twice.")
        if "unreadable" in response:
            return Verdict.wrong(f"Wrong: the answer cannot be read ({response['unreadable']}).")
        return verdict_of_score(response.get("score", math.nan), self.name)

    def oracle(self) -> str:
        """The reference answer."""
        return f"Answer: {self.current.answer}"

    def rules(self) -> str:
        """Levels and parameters."""
        return json.dumps(
            [GENERATOR_VERSION, self.levels, self._sizes, self.parameters], sort_keys=True
        )

    def fingerprint(self) -> str:
        """The hash of the package's version and of all it is asked for; nothing is generated."""
        return digest([self.name, self.grader_version, self.rules()])

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """Unless options say otherwise."""
        return {split: _SIZES[split] for split in SPLITS}


class _EndlessError(Exception):
    """A scorer used up its processor time."""


def _ask_scorer(job: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The scorer's response to an answer.

    Raises:
        WorkerFailed: It gave none, by a fault of its own.
        _EndlessError: It did not end in its time, counted on its own processor.
    """
    # The wall's limit is for a machine without spare time.
    wall = max(WALL_SECONDS, 30 * SCORE_SECONDS)
    try:
        return worker_pool().ask({**job, "text": text}, wall, SCORE_SECONDS)
    except WorkerFailed as failure:
        if failure.exit_code is not None and failure.exit_code == SPENT:
            raise _EndlessError(f"it took over {SCORE_SECONDS:g} s of CPU") from failure
        raise


def verdict_of_score(score: float, env_name: str) -> Verdict:
    """A score as a verdict; what is no number from 0 to 1 is none."""
    if not 0.0 <= score <= 1.0 + 1e-9:
        return Verdict.unscored(f"the scorer of {env_name} gave {score}, which is no score")
    if score >= 1.0 - 1e-9:
        return Verdict.right()
    if score <= 0.0:
        return Verdict.wrong()
    return Verdict("scored", score, False, f"Not right, worth {score:.2f}.")
