"""Competition mathematics: train on past contests, test on a later or harder one.

The problems are other people's and are not distributed here. They are read from a folder or the
Hub and checked against fingerprints of known content. The order of tasks and the split of
validation from train follow from the problem texts alone, so every machine plays the same tasks.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from envs.datasets import DataSource, Row, dapo_100, kept_copy, read_hub, read_jsonl
from envs.errors import DataDiffers, DataMalformed, DataUnavailable
from envs.fingerprint import digest, problem_key
from envs.grading.answer_graders import GRADERS
from envs.grading.pool import grader_version, shared_grader
from envs.text_env import DataFile, Problem, Split, TextEnv
from envs.verdict import Verdict

DATA_DIR_VARIABLE = "HARNESS_DATA_DIR"
_LEAST_VALIDATION = 10


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The training and test data of a competition environment."""

    name: str
    train: tuple[DataSource, ...]
    test: tuple[DataSource, ...]


def validation_size(train_rows: int) -> int:
    """A fifth of the training problems, at least ten, never all of them."""
    return min(max(_LEAST_VALIDATION, round(train_rows / 5)), max(0, train_rows - 1))


def split_rows(train: list[Row], test: list[Row]) -> dict[Split, tuple[Row, ...]]:
    """Problems by split, in the order of their keys; the first of train's are validation's.

    Raises DataMalformed where a problem occurs twice: it could be learnt and tested.
    """
    keys = [problem_key(problem) for problem, _ in (*train, *test)]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        text = next(p for p, _ in (*train, *test) if problem_key(p) == twice)
        raise DataMalformed(
            f"A problem occurs twice in train and test together: '{text[:80]}…'. Each must occur"
            " once; remove one of the two rows."
        )
    pool = sorted(train, key=lambda row: problem_key(row[0]))
    held = validation_size(len(pool))
    return {
        "train": tuple(pool[held:]),
        "validation": tuple(pool[:held]),
        "test": tuple(sorted(test, key=lambda row: problem_key(row[0]))),
    }


def _read(source: DataSource, data_dir: str) -> tuple[list[Row], str]:
    if data_dir:
        path = Path(data_dir) / source.file
        return read_jsonl(path), str(path)
    return read_hub(source), f"{source.hub} on the Hub (kept in {kept_copy(source)})"


def _unreachable(benchmark: Benchmark, reason: DataUnavailable) -> DataUnavailable:
    files = ", ".join(source.file for source in (*benchmark.train, *benchmark.test))
    return DataUnavailable(
        f"The problems of '{benchmark.name}' are not here: no folder was given and {reason}. Put"
        f" {files} into a folder and run: harness run --env {benchmark.name} --data-dir FOLDER"
        f" (or set {DATA_DIR_VARIABLE}=FOLDER; 'harness env show {benchmark.name}' lists the"
        " fields)."
    )


@cache
def load(benchmark: Benchmark, data_dir: str, accept_data: bool) -> dict[Split, tuple[Row, ...]]:
    """All problems by split; read once in a process.

    Raises DataUnavailable, DataMalformed, and DataDiffers unless `accept_data`.
    """
    rows: dict[str, list[Row]] = {}
    differences: list[str] = []
    for source in (*benchmark.train, *benchmark.test):
        try:
            rows[source.file], where = _read(source, data_dir)
        except DataUnavailable as reason:
            raise (reason if data_dir else _unreachable(benchmark, reason)) from reason
        # All files are compared before any refusal, so that one message names every difference.
        differences += source.differences(rows[source.file], where)
    if differences and not accept_data:
        raise DataDiffers(
            f"The data of '{benchmark.name}' is not the content that was pinned: "
            f"{'; '.join(differences)}. Use the pinned files, or add --accept-data: the run then"
            " has a Track of its own and its rows are ranked with none of the pinned data's.",
            differences,
        )
    return split_rows(
        [row for source in benchmark.train for row in rows[source.file]],
        [row for source in benchmark.test for row in rows[source.file]],
    )


class CompetitionEnv(TextEnv):
    """Competition problems whose boxed answer is judged as mathematics.

    Args:
        data_dir: Folder of JSONL files; unset: the folder that HARNESS_DATA_DIR names, else the
            Hub.
        accept_data: Accept data whose fingerprint differs from the pinned one, which changes the
            environment's fingerprint.
    """

    benchmark: ClassVar[Benchmark]
    system_prompt = (
        "Solve the problem. Reason step by step, then give the final answer, and only it, in"
        " \\boxed{}."
    )
    reply_tokens = 15_000  # what the released E-SPL code allows
    redistributable = False

    def __init__(
        self, *, split: Split = "train", data_dir: str | None = None, accept_data: bool = False
    ) -> None:
        super().__init__(split=split)
        self.grader_version = grader_version()
        folder = data_dir or os.environ.get(DATA_DIR_VARIABLE, "")
        self._rows = load(self.benchmark, folder, accept_data)

    def size(self, split: Split) -> int:
        """The number of problems in the data."""
        return len(self._rows[split])

    def problem(self, split: Split, index: int) -> Problem:
        """A problem, named by its content."""
        text, answer = self._rows[split][index]
        return Problem(f"{self.name}:{problem_key(text)[:12]}", text, answer)

    def judge(self, reply: str, answer: str) -> Verdict:
        """Ask the process's shared grader."""
        return shared_grader().grade(reply, answer)

    def renderings(self, answer: str) -> tuple[str, ...]:
        """Replies that say a reference answer in other ways, all of them right."""
        return GRADERS["math"].ways(answer)

    def oracle(self) -> str:
        """The reference answer, boxed."""
        return f"\\boxed{{{self.current.answer}}}"

    def rules(self) -> str:
        """The split rule; the grading rule is in the grader's version."""
        return digest(["validation: first fifth by key, at least", _LEAST_VALIDATION])

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """Of the pinned data."""
        pool = sum(source.rows for source in cls.benchmark.train)
        held = validation_size(pool)
        test = sum(source.rows for source in cls.benchmark.test)
        return {"train": pool - held, "validation": held, "test": test}

    @classmethod
    def files(cls) -> tuple[DataFile, ...]:
        """The files that a data folder must hold."""
        sources = (*cls.benchmark.train, *cls.benchmark.test)
        return tuple(DataFile(s.file, s.rows, s.hub) for s in sources)


class BeyondAIME(CompetitionEnv):
    """Train on AIME 2022 to 2024, test on BeyondAIME."""

    name = "beyond_aime"
    benchmark = Benchmark(
        "beyond_aime",
        (
            DataSource(
                "aime_2022_2024.jsonl",
                "AI-MO/aimo-validation-aime",
                90,
                "9d79c9db4063be1ff4a9f91dea260c9dcab50f6b483e8b4241fbd5083b0dbdbc",
            ),
        ),
        (
            DataSource(
                "beyond_aime.jsonl",
                "ByteDance-Seed/BeyondAIME",
                100,
                "9dd05fd49ca22eb6a32edbfe1e12c5393ab3f3f985ca3b79861ec971ae985a9c",
            ),
        ),
    )


class AIME25(CompetitionEnv):
    """Train on DAPO-100, test on AIME 2025."""

    name = "aime25"
    benchmark = Benchmark(
        "aime25",
        (
            DataSource(
                "dapo_100.jsonl",
                "BytedTsinghua-SIA/DAPO-Math-17k",
                100,
                "7958328775200b03dc26a4a49b8cf6355685fc268176a153b15c1e05530e24e3",
                dapo_100,
            ),
        ),
        (
            DataSource(
                "aime_2025.jsonl",
                "MathArena/aime_2025",
                30,
                "87a64cd54078af846bc261287ac80ee85e1784752410f60dc7b8c86911994c73",
            ),
        ),
    )


class HMMT(CompetitionEnv):
    """Train on HMMT February 2023 to 2025, test on November 2025.

    The pinned February 2023 has 20 of its 30 problems. The Hub's complete set is other content,
    which has not been seen here: it needs `accept_data`.
    """

    name = "hmmt"
    benchmark = Benchmark(
        "hmmt",
        (
            DataSource(
                "hmmt_feb_2023_partial.jsonl",
                "MathArena/hmmt_feb_2023",
                20,
                "ab63c80ebad6211fca7ae9013845ba2dc8ebab40c937c087baedea47d0035699",
            ),
            DataSource(
                "hmmt_feb_2024.jsonl",
                "MathArena/hmmt_feb_2024",
                30,
                "137ef0f2584bf39b7d4f0aa5ffc13b3d2f45964dd8571ad260862a612cabf376",
            ),
            DataSource(
                "hmmt_feb_2025.jsonl",
                "MathArena/hmmt_feb_2025",
                30,
                "53d1ebe9a3fc993de5d3bb9592fa5c362219b5af323c9ef7fd83d7fea6cb7386",
            ),
        ),
        (
            DataSource(
                "hmmt_nov_2025.jsonl",
                "MathArena/hmmt_nov_2025",
                30,
                "e8e089cebe1a71a4f4e8d5feae7161ff5dbdd5750a67ce9a95c7ec287e50147a",
            ),
        ),
    )
