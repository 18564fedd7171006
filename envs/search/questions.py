"""Questions and corpora from JSONL files, one object a line.

A question has `question` and `answers` (a list of accepted texts; one text will do), and may have
`id`, `gold` (ids of the passages it follows from) and `split`. A passage has `id`, `title` and
`text`. The names of FlashRAG and Search-R1 are read too: `golden_answers`, and `contents` with the
title on its first line. Every refusal names file and line.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from envs.datasets import objects
from envs.errors import DataMalformed
from envs.fingerprint import canonical_text, digest, problem_key
from envs.search.corpus import Corpus, Passage
from envs.search.scoring import join_answers
from envs.text_env import SPLITS, Split

QUESTION_FIELDS = ("id", "question", "answers", "gold")
PASSAGE_FIELDS = ("id", "title", "text")


@dataclass(frozen=True, slots=True)
class SearchQuestion:
    """A question, its accepted answers, and the ids of the passages they follow from.

    `id` is what its source calls it; it decides nothing.
    """

    text: str
    answers: tuple[str, ...]
    gold: tuple[str, ...] = ()
    split: Split | None = None
    id: str = ""

    @property
    def key(self) -> str:
        """The hash of its text: its identity, whatever its source called it."""
        return problem_key(self.text)

    @property
    def answer(self) -> str:
        """The accepted answers as one reference answer."""
        return join_answers(self.answers)


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions by split, each split in the order of its keys, over one corpus; `gold` has the
    passages each question's text follows from.
    """

    splits: Mapping[Split, tuple[SearchQuestion, ...]]
    corpus: Corpus
    gold: Mapping[str, tuple[Passage, ...]]

    @classmethod
    def over(
        cls, corpus: Corpus, splits: Mapping[Split, Iterable[SearchQuestion]]
    ) -> "QuestionSet":
        """Checked: no question twice, no gold passage that the corpus lacks."""
        # By key, a hash of the text: the order of a file or of the Hub decides nothing.
        ordered = {s: tuple(sorted(splits.get(s, ()), key=lambda q: q.key)) for s in SPLITS}
        seen: set[str] = set()
        for question in (q for split in SPLITS for q in ordered[split]):
            missing = [id for id in question.gold if id not in corpus.ids]
            if missing:
                raise DataMalformed(
                    f"The corpus lacks passage '{missing[0]}', the gold of '{question.text[:80]}'."
                )
            if question.key in seen:
                raise DataMalformed(
                    f"A question occurs twice: '{question.text[:80]}'. Each must occur once;"
                    " remove one of the two rows."
                )
            seen.add(question.key)
        needed = {id for qs in ordered.values() for q in qs for id in q.gold}
        passages = {p.id: p for p in corpus.passages if p.id in needed}
        gold = {q.text: tuple(passages[id] for id in q.gold) for qs in ordered.values() for q in qs}
        return cls(ordered, corpus, gold)

    def fingerprint(self) -> str:
        """The hash of the questions and answers of every split; not of the corpus."""
        return digest(
            {
                split: [
                    [canonical_text(q.text), sorted(map(canonical_text, q.answers))] for q in qs
                ]
                for split, qs in self.splits.items()
            }
        )


def read_questions(path: Path) -> list[SearchQuestion]:
    """The questions of a file. Raises DataUnavailable, or DataMalformed with the line."""
    return [_question(cells, where) for cells, where in _objects(path, QUESTION_FIELDS)]


def read_passages(path: Path) -> list[Passage]:
    """The passages of a file. Raises DataUnavailable, or DataMalformed with the line."""
    return [
        Passage(*(_text(_with_title(cells), field, where) for field in PASSAGE_FIELDS))
        for cells, where in _objects(path, PASSAGE_FIELDS)
    ]


def _with_title(cells: dict[str, Any]) -> dict[str, Any]:
    """A passage whose `contents`, if it has no text of its own, are divided into title and text."""
    contents, id = cells.get("contents"), cells.get("id")
    if not isinstance(contents, str) or cells.get("text"):
        return cells
    first, _, rest = contents.strip().partition("\n")
    title = cells.get("title") or first.strip().strip('"')
    # Some corpora number their passages. Not isinstance, because True is an int too.
    named = str(id) if type(id) is int else id
    return {**cells, "id": named, "title": title, "text": rest.strip() or contents.strip()}


def split_questions(questions: Iterable[SearchQuestion]) -> dict[Split, list[SearchQuestion]]:
    """Questions by their own `split`, or, where no question has one, by key: of every five one to
    test, one to validation, three to train. Raises DataMalformed where only some have one.
    """
    ordered = sorted(questions, key=lambda q: q.key)
    named = [q.split for q in ordered]
    if None in named and any(named):
        raise DataMalformed("Some questions have a split and some have none; expected all or none.")
    by_split: dict[Split, list[SearchQuestion]] = {split: [] for split in SPLITS}
    turns: tuple[Split, ...] = ("test", "validation", "train", "train", "train")
    for number, question in enumerate(ordered):
        by_split[question.split or turns[number % len(turns)]].append(question)
    return by_split


def _question(cells: Mapping[str, Any], where: str) -> SearchQuestion:
    named = (cells.get(name) for name in ("answers", "answer", "golden_answers"))
    answers = next((found for found in named if found is not None), None)
    answers = [answers] if isinstance(answers, str) else answers
    gold = cells.get("gold") or []
    split = cells.get("split")
    if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
        raise DataMalformed(f"{where}: 'answers' must be a list of texts.")
    if not isinstance(gold, list) or not all(isinstance(id, str) for id in gold):
        raise DataMalformed(f"{where}: 'gold' must be a list of passage ids.")
    if split is not None and split not in SPLITS:
        raise DataMalformed(f"{where}: 'split' must be one of {', '.join(SPLITS)}.")
    try:
        # For its refusal alone, which gets the line of the file here.
        join_answers(answers)
    except ValueError as error:
        raise DataMalformed(f"{where}: {error}.") from error
    text = _text(cells, "question", where)
    id = str(cells.get("id") or "")
    return SearchQuestion(text, tuple(answers), tuple(gold), cast(Split | None, split), id)


def _text(cells: Mapping[str, Any], field: str, where: str) -> str:
    value = cells.get(field)
    if not isinstance(value, str) or not value.strip():
        raise DataMalformed(
            f"{where} has no {field}: expected text, found the fields"
            f" {', '.join(sorted(cells)) or 'none'}."
        )
    return value


def _objects(path: Path, fields: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], str]]:
    return objects(
        path,
        f"There is no file {path.name} in {path.parent}; expected one JSON object a line with"
        f" the fields {', '.join(fields)}.",
    )
