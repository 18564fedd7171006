"""Anyone's questions: a file of JSON lines with problems and answers, judged by a named grader.

    {"problem": "What is 6 × 7?", "answer": "42"}

`question` will do for `problem`; a list in `answers` says that any of several is right, as does
`golden_answers`; `id` and `split` are optional. The split rule: either every line
has a `split` of train, validation or test, or none has, and the problems are put in the order of
a seeded hash of their texts, of which the first are test's, the next validation's. With a `split`
field and no validation lines, validation is cut from train by the same hash. A folder with
train.jsonl, test.jsonl and perhaps validation.jsonl is read as if each line named its file.
A problem that occurs twice is kept once, in test before validation before train.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from envs.datasets import objects
from envs.errors import DataDiffers, DataMalformed, DataUnavailable, UnknownOption, did_you_mean
from envs.fingerprint import canonical_text, content_fingerprint, digest, problem_key
from envs.grading.answer_graders import GRADERS, accepted_answers
from envs.text_env import SPLITS, Problem, Split, TextEnv
from envs.verdict import Verdict

_PROBLEM, _ANSWER = ("problem", "question"), ("answer",)
_ANSWERS = ("answers", "golden_answers")
_STRICTEST: tuple[Split, ...] = ("test", "validation", "train")


@dataclass(frozen=True, slots=True)
class QuestionLine:
    """One line of a file: where it stands and what it says. `split` is "" where it names none."""

    where: str
    problem: str
    answer: str
    id: str
    split: str

    @property
    def key(self) -> str:
        """The problem's number."""
        return problem_key(self.problem)


def read_lines(path: Path) -> list[QuestionLine]:
    """All lines of a file, or of a folder's files; raises DataUnavailable and DataMalformed."""
    if path.is_dir():
        files = {split: path / f"{split}.jsonl" for split in SPLITS}
        there = {split: file for split, file in files.items() if file.exists()}
        if "train" not in there or "test" not in there:
            raise DataUnavailable(
                f"The folder {path} has no train.jsonl and test.jsonl; name a file of JSON lines,"
                " or put both into the folder."
            )
        return [line for split, file in there.items() for line in _read(file, split)]
    return _read(path, "")


def _read(path: Path, split: str) -> list[QuestionLine]:
    absent = (
        f"There is no file {path}; expected one JSON object a line with the fields problem and"
        " answer, as in --env jsonl:my_questions.jsonl."
    )
    return [_line(cells, where, split) for cells, where in objects(path, absent)]


def _line(cells: Mapping[str, Any], where: str, split: str) -> QuestionLine:
    named = str(cells.get("split") or split)
    if named and named not in SPLITS:
        raise DataMalformed(
            f"{where} has the split '{named}'; expected one of {', '.join(SPLITS)}."
        )
    problem = _cell(cells, _PROBLEM, where)
    answer = _accepted(cells, where) or _cell(cells, _ANSWER, where)
    return QuestionLine(where, problem, answer, str(cells.get("id") or ""), named)


def _accepted(cells: Mapping[str, Any], where: str) -> str:
    """The accepted answers of a line, one a line of text; "" where it lists none."""
    for name in _ANSWERS:
        listed = cells.get(name)
        if listed is None:
            continue
        if not isinstance(listed, list) or not listed:
            raise DataMalformed(f"{where} has no list of accepted answers in {name}.")
        texts = [_cell({"answer": one}, _ANSWER, where) for one in listed]
        if any(len(text.splitlines()) > 1 for text in texts):
            raise DataMalformed(f"{where} has an accepted answer of several lines in {name}.")
        return "\n".join(dict.fromkeys(texts))
    return ""


def _cell(cells: Mapping[str, Any], names: tuple[str, ...], where: str) -> str:
    for name in names:
        value = cells.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            text = str(value).strip()
            if text:
                return text
    raise DataMalformed(
        f"{where} has no {names[0]}: expected text or a number in {' or '.join(names)}, found the"
        f" fields {', '.join(sorted(map(str, cells))) or 'none'}."
    )


def unique(lines: list[QuestionLine]) -> list[QuestionLine]:
    """Each problem once, in the strictest split that has it; two answers to one are refused."""
    kept: dict[str, QuestionLine] = {}
    for line in lines:
        before = kept.get(line.key)
        if before is None:
            kept[line.key] = line
            continue
        if canonical_text(before.answer) != canonical_text(line.answer):
            raise DataMalformed(
                f"{line.where} asks what {before.where} asks, but the answers differ; keep one."
            )
        if line.split and _STRICTEST.index(line.split) < _STRICTEST.index(before.split):
            kept[line.key] = line
    named: set[str] = set()
    for line in kept.values():
        if line.id in named:
            raise DataMalformed(
                f"{line.where} has the id '{line.id}', as another problem has; make ids differ."
            )
        named |= {line.id} - {""}
    return list(kept.values())


def divide(
    lines: list[QuestionLine], validation: float, test: float, seed: int
) -> dict[Split, tuple[QuestionLine, ...]]:
    """Lines by split, by their own word or by the seeded hash; raises DataMalformed."""
    named = [line for line in lines if line.split]
    if named and len(named) < len(lines):
        bare = next(line for line in lines if not line.split)
        raise DataMalformed(
            f"{bare.where} has no split, but other lines have one; give each a split, or none."
        )
    pool = sorted(unique(lines), key=lambda line: digest([seed, line.key]))
    if not named:
        tested = _share(len(pool), test)
        held = _share(len(pool), validation)
        parts: dict[Split, list[QuestionLine]] = {
            "test": pool[:tested],
            "validation": pool[tested : tested + held],
            "train": pool[tested + held :],
        }
    else:
        parts = {split: [line for line in pool if line.split == split] for split in SPLITS}
        if not parts["validation"]:
            held = _share(len(parts["train"]), validation)
            parts["validation"], parts["train"] = parts["train"][:held], parts["train"][held:]
    empty = [split for split in ("train", "test") if not parts[split]]
    if empty:
        raise DataMalformed(
            f"Of {len(pool)} different problems none is left for {empty[0]}; give more lines, or"
            " smaller shares with --set world.test=0.1 --set world.validation=0.1."
        )
    return {split: tuple(part) for split, part in parts.items()}


def _share(count: int, fraction: float) -> int:
    return max(1, round(count * fraction)) if fraction > 0 else 0


@cache
def _load(
    path: Path, stamps: tuple[int, ...], validation: float, test: float, seed: int
) -> dict[Split, tuple[QuestionLine, ...]]:
    return divide(read_lines(path), validation, test, seed)


def _stamps(path: Path) -> tuple[int, ...]:
    """A value that changes when a file does, so that a changed file is read again."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    return tuple(n for f in files if f.exists() for n in (f.stat().st_mtime_ns, f.stat().st_size))


class Questions(TextEnv):
    """Questions of a JSON-lines file, judged by a named grader.

    Args:
        path: File of JSON lines, or a folder of such files.
        grader (one of choice, contains, exact, math, number): Grader of answers; it must be named.
        validation (0 to 1): Share of the problems without a split of their own that validation
            gets; below 1, also together with test.
        test (0 to 1): Share of the problems without a split of their own that test gets; above 0
            and below 1.
        split_seed: Seed of the draw that puts problems without a split of their own into splits.
        pin: Beginning of the content's fingerprint in hexadecimal digits; other content is refused.
            Empty: any content.
        publish: Publish the problems' texts in results; false: ids and completions only.
        reply_tokens (in tokens): Maximum new tokens of one completion, unless the run sets its own.
    """

    name = "jsonl"
    redistributable = False
    reply_tokens = 1024

    def __init__(
        self,
        *,
        path: str,
        split: Split = "train",
        grader: str = "",
        validation: float = 0.1,
        test: float = 0.2,
        split_seed: int = 0,
        pin: str = "",
        publish: bool = False,
        reply_tokens: int = 1024,
    ) -> None:
        super().__init__(split=split)
        if grader not in GRADERS:
            said = f"There is no grader '{grader}'." if grader else "No grader was named."
            raise UnknownOption(
                f"{said} Choose one, as in --set world.grader=exact."
                f" {did_you_mean(grader, GRADERS)}"
            )
        if not (0 <= validation < 1 and 0 < test < 1 and validation + test < 1):
            raise UnknownOption(
                f"world.validation={validation:g} and world.test={test:g} are no shares: each is"
                " below 1, test above 0, and both together below 1."
            )
        self.redistributable, self.reply_tokens = publish, reply_tokens
        self.grader = GRADERS[grader]
        self.system_prompt, self.grader_version = self.grader.system_prompt, self.grader.version()
        self.kind = grader
        place = Path(path)
        self._lines = _load(place, _stamps(place), float(validation), float(test), split_seed)
        for line in (line for part in self._lines.values() for line in part):
            unread = [one for one in accepted_answers(line.answer) if not self.grader.reads(one)]
            if unread:
                raise DataMalformed(
                    f"{line.where} has the answer {unread[0][:60]!r}, which the grader {grader}"
                    f" ({self.grader.about}) cannot judge; choose another world.grader."
                )
        found = self.content()
        if not found.startswith(pin.lower()):
            raise DataDiffers(
                f"{path} is not the content that was pinned: fingerprint {found[:12]} instead of"
                f" {pin[:12]}. Use the pinned file, or leave world.pin out.",
                [f"fingerprint {found} instead of {pin}"],
            )

    def content(self) -> str:
        """The fingerprint of all problems and answers, whatever their order or split."""
        return content_fingerprint(
            (line.problem, line.answer) for part in self._lines.values() for line in part
        )

    def size(self, split: Split) -> int:
        """As many as the split rule gives it."""
        return len(self._lines[split])

    def problem(self, split: Split, index: int) -> Problem:
        """A problem, named by its own id or else by its content."""
        line = self._lines[split][index]
        return Problem(f"jsonl:{line.id or line.key[:12]}", line.problem, line.answer)

    def judge(self, reply: str, answer: str) -> Verdict:
        """The verdict of the named grader."""
        return self.grader.judge(reply, answer)

    def feedback(self, verdict: Verdict, problem: Problem) -> str:
        """As of any environment; several accepted answers are told with "or" between them."""
        told = " or ".join(accepted_answers(problem.answer))
        return super().feedback(verdict, replace(problem, answer=told))

    def renderings(self, answer: str) -> tuple[str, ...]:
        """Replies that say an accepted answer in other ways, all of them right."""
        return self.grader.ways(answer)

    def oracle(self) -> str:
        """The reference answer in the form the briefing asks for."""
        return self.grader.oracle(self.current.answer)

    def rules(self) -> str:
        """The grader; which problem is in which split the fingerprint covers by itself."""
        return f"grader {self.kind}"
