"""Questions about the real world, answered by searching Wikipedia paragraphs (E-SPL §4.1).

The questions are HotpotQA's, which need two paragraphs each, and Natural Questions', which need
one: 196 to train on and 64 to test on, as in the paper, and 40 for validation. They are not
distributed here: they come from a folder, HotpotQA also from the Hub, and are checked against
fingerprints of known content. Any other questions and corpus will do in their place.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from envs.competition import DATA_DIR_VARIABLE
from envs.errors import DataDiffers, DataUnavailable, EnvError, did_you_mean, option_key
from envs.search.base_env import SearchEnvBase
from envs.search.corpus import Corpus, Passage
from envs.search.hotpotqa import HUB, read_hub, select_by_split
from envs.search.questions import (
    PASSAGE_FIELDS,
    QUESTION_FIELDS,
    QuestionSet,
    SearchQuestion,
    read_passages,
    read_questions,
    split_questions,
)
from envs.search.tool import MAX_QUERIES, MAX_QUERY_CHARACTERS, single_line
from envs.text_env import SPLITS, DataFile, Problem, Split

SIZES: Mapping[Split, int] = {"train": 196, "validation": 40, "test": 64}
_HOTPOTQA = (
    "hotpotqa_train196.jsonl",
    "hotpotqa_extra.jsonl",
    "hotpotqa_test64.jsonl",
    "hotpotqa_corpus.jsonl",
)
_NQ = ("nq_gold_2655.jsonl", "nq_corpus.jsonl")
_ROWS = (196, 1310, 64, 15161, 2655, 2599)
# Test comes first, so its questions stay the same whatever size the other splits get.
_FIRST_COME: tuple[Split, ...] = ("test", "validation", "train")


@dataclass(frozen=True, slots=True)
class Pinned:
    """The files of a source, and the hashes of its questions and of its corpus."""

    files: tuple[str, ...]
    questions: str
    corpus: str


SOURCES: Mapping[str, Pinned] = {
    "hotpotqa": Pinned(
        _HOTPOTQA,
        "a710fab3970a4ff6a013ae437e48fa975effe618edb330619b1a8f7b8f23ec12",
        "661e5c0123fe15ec08d1cbf48ded44e870957e4988db8da4124288bcde988ca5",
    ),
    "nq": Pinned(
        (*_NQ, "hotpotqa_corpus.jsonl"),
        "1e6a7c0a7952d2264bb888edf9f542182096eb54b2c1e33aba9cce673b8742d5",
        "8bae3cc91f1e250b76806ad8618dd9ede90972c50a17a56ad8fe5b72056f554b",
    ),
    "nq+hotpotqa": Pinned(
        (*_NQ, *_HOTPOTQA),
        "673d70b0c6107819a38c033b0a7e19ae289348959a6bc4766f1e81480d756ee7",
        "8bae3cc91f1e250b76806ad8618dd9ede90972c50a17a56ad8fe5b72056f554b",
    ),
}
"""NQ is asked over its own paragraphs with HotpotQA's among them. Of both, half of each."""


def load(source: str, folder: str, accept_data: bool) -> QuestionSet:
    """A source's questions and corpus; read once in a process as long as its files stay the same.

    Raises DataUnavailable, DataMalformed, and DataDiffers unless `accept_data`.
    """
    pinned = SOURCES[source]
    paths = tuple(Path(folder) / name for name in pinned.files) if folder else ()
    found = _read(source, paths, _stamps(paths))
    differences = [
        f"the {part} have fingerprint {found[:12]} instead of {pinned_hash[:12]}"
        for part, found, pinned_hash in (
            ("questions", found.fingerprint(), pinned.questions),
            ("passages", found.corpus.fingerprint, pinned.corpus),
        )
        if found != pinned_hash
    ]
    if differences and not accept_data:
        raise DataDiffers(
            f"The data of 'search' ({source}, from {folder or 'the Hub'}) is not the content that"
            f" was pinned: {'; '.join(differences)}. Use the pinned files, or add --accept-data:"
            " the run then has a Track of its own and its rows are ranked with none of the pinned"
            " data's.",
            differences,
        )
    return found


def load_custom(questions: str, corpus: str) -> QuestionSet:
    """Somebody's own questions and passages; read once in a process as `load`."""
    paths = (Path(questions).expanduser(), Path(corpus).expanduser())
    return _read("", paths, _stamps(paths))


def _stamps(paths: Sequence[Path]) -> tuple[tuple[int, int], ...]:
    # They are part of the cache's key: a file that was changed is read again.
    stats = [path.stat() for path in paths if path.exists()]
    return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


@lru_cache(maxsize=4)
def _read(source: str, paths: tuple[Path, ...], stamps: tuple[tuple[int, int], ...]) -> QuestionSet:
    if not source:
        custom = split_questions(read_questions(paths[0]))
        return QuestionSet.over(Corpus(read_passages(paths[1])), custom)
    if not paths:
        return _from_hub(source)
    corpora = [read_passages(path) for path in paths if path.stem.endswith("corpus")]
    by_split: dict[Split, list[SearchQuestion]] = {split: [] for split in SPLITS}
    shares = 1 if source in ("hotpotqa", "nq") else 2
    for path in paths:
        for split, questions in _questions_of(path).items():
            by_split[split] += questions[: SIZES[split] // shares]
    return QuestionSet.over(Corpus(p for passages in corpora for p in passages), by_split)


def _questions_of(path: Path) -> Mapping[Split, list[SearchQuestion]]:
    """A file's questions by split, in the order of their keys, as many as are asked at most."""
    if path.stem.endswith("corpus"):
        return {}
    questions = sorted(read_questions(path), key=lambda q: q.key)
    if path.name in _HOTPOTQA:
        found = select_by_split(questions)
        return {split: sorted(found[split], key=lambda q: q.key) for split in SPLITS}
    by_split, start = dict[Split, list[SearchQuestion]](), 0
    for split in _FIRST_COME:
        by_split[split] = questions[start : start + SIZES[split]]
        start += SIZES[split]
    return by_split


def _from_hub(source: str) -> QuestionSet:
    if source != "hotpotqa":
        raise DataUnavailable(
            "The Natural Questions with their paragraphs are on no Hub. Put"
            f" {', '.join(SOURCES[source].files)} into a folder and run: harness run --env search"
            f" --data-dir FOLDER (or set {DATA_DIR_VARIABLE}=FOLDER); or take HotpotQA alone from"
            f" the Hub: --set {option_key('source')}=hotpotqa; or an environment that needs no"
            f" data:"
            " --env search/fictional."
        )
    splits, passages = read_hub()
    return QuestionSet.over(Corpus(passages), splits)


class SearchEnv(SearchEnvBase):
    """Answer questions of HotpotQA and Natural Questions by searching Wikipedia paragraphs.

    Args:
        data_dir: Folder of JSONL files; unset: the folder that HARNESS_DATA_DIR names, else the
            Hub.
        accept_data: Accept data whose fingerprint differs from the pinned one, which changes the
            environment's fingerprint.
        source (one of hotpotqa, nq, nq+hotpotqa): Data set of the questions; of nq+hotpotqa, half
            from each. Unset: nq+hotpotqa.
        questions: JSONL file of your own questions, in place of a source; nothing of it is pinned.
            It needs corpus too.
        corpus: JSONL file of your own passages, in place of a source's; nothing of it is pinned. It
            needs questions too.
    """

    name = "search"
    redistributable = False

    def __init__(
        self,
        *,
        split: Split = "train",
        data_dir: str | None = None,
        accept_data: bool = False,
        source: str | None = None,
        questions: str | None = None,
        corpus: str | None = None,
        rounds: int = 6,
        results: int = 3,
        passage_characters: int = 1500,
        retriever: str = "bm25",
        tools: str = "text",
    ) -> None:
        self._set = _load_set(source, questions, corpus, data_dir, accept_data)
        super().__init__(
            split=split,
            corpus=self._set.corpus,
            rounds=rounds,
            results=results,
            passage_characters=passage_characters,
            retriever=retriever,
            tools=tools,
        )

    def size(self, split: Split) -> int:
        """The number of questions in the data."""
        return len(self._set.splits[split])

    def problem(self, split: Split, index: int) -> Problem:
        """A question, named by its content."""
        question = self._set.splits[split][index]
        return Problem(f"{self.name}:{question.key[:12]}", question.text, question.answer)

    def gold_passages(self, problem: Problem) -> Sequence[Passage]:
        """The paragraphs the data set marks as gold."""
        return self._set.gold[problem.text]

    def plan(self, problem: Problem) -> Sequence[Sequence[str]]:
        """All titles of the gold paragraphs at once; where there are none, the question."""
        titles = [passage.title for passage in self.gold_passages(problem)] or [problem.text]
        return [[single_line(title)[:MAX_QUERY_CHARACTERS] for title in titles[:MAX_QUERIES]]]

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """Of the pinned sources."""
        return {split: SIZES[split] for split in SPLITS}

    @classmethod
    def files(cls) -> tuple[DataFile, ...]:
        """The files that a data folder must hold."""
        return tuple(
            DataFile(
                name,
                rows,
                HUB if name in _HOTPOTQA else "",
                PASSAGE_FIELDS if "corpus" in name else QUESTION_FIELDS,
            )
            for name, rows in zip((*_HOTPOTQA, *_NQ), _ROWS, strict=True)
        )


def _load_set(
    source: str | None,
    questions: str | None,
    corpus: str | None,
    data_dir: str | None,
    accept_data: bool,
) -> QuestionSet:
    if questions or corpus:
        if not (questions and corpus) or source:
            raise EnvError(
                "questions=FILE and corpus=FILE go together and replace source; give both, or"
                " neither."
            )
        return load_custom(questions, corpus)
    chosen = source or "nq+hotpotqa"
    if chosen not in SOURCES:
        raise EnvError(f"There is no source '{chosen}'. {did_you_mean(chosen, SOURCES)}")
    return load(chosen, data_dir or os.environ.get(DATA_DIR_VARIABLE, ""), accept_data)
