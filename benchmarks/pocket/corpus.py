"""The corpus as token ids: conversations whose completions are learnt."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from agents.parts.prompts.template_filling import template
from benchmarks.pocket import tokens
from benchmarks.pocket.acting import ASIDES, BRIEFINGS, RECITE, lesson, recital
from benchmarks.pocket.expert import STAGES, critique
from benchmarks.pocket.reflecting import EDITS, PLENTY, SCARCE, Evidence, reflections
from envs.calibration_language import (
    MEANINGS,
    SIGNS,
    draw_convention,
    meaning_sentence,
    question,
    step_line,
)

CONTEXT = 1024
SIGNS_EACH = (2, 3, 4, 4, 5, 6, 6, 8)
FIRST_RECITALS = 1_600
"""Recitals before all else: to look up what a sign means is learnt soonest from them."""

Talk = list[tuple[str, str]]
"""A conversation as (role, text)."""

_ALSO = (
    "Principles: Problem: Correct answer: Attempt: Reply World: Feedback: Right. Wrong. RIGHT "
    "WRONG reward cut off at the token limit The correct answer is Verdict: none yet not known "
    "List won by No principle told it. A another meaning. The right attempts said The problem has "
    "several steps. The wrong attempts slipped. It rightly wrongly said and was ADD MODIFY MERGE "
    "REMOVE NONE answer the reply states no digit as its result"
)


@dataclass(frozen=True)
class Course:
    """One part of the training: what it draws for each convention, and what counts more.

    `recitals` is how likely it is that meanings are recited, `lessons` how many conversations about
    questions there are; an edit's tokens count `edit_weight` times as much as others.
    """

    name: str
    evidence: Evidence
    first_recitals: int = 0
    recitals: float = 0.1
    lessons: int = 6
    edit_weight: float = 1.0


COURSES = (
    Course("plenty", PLENTY, first_recitals=FIRST_RECITALS, recitals=0.5),
    Course("scarce", SCARCE),
    Course("edits", EDITS, lessons=4, edit_weight=4.0),
)
_EDITED = ("propose", "aggregate", "crossover")


@dataclass(frozen=True)
class Document:
    """Token ids [T], whether each is a reply's [T] and whether it says a meaning [T]; `kind` says
    what the document is about.
    """

    kind: str
    ids: list[int]
    learnt: list[bool]
    telling: list[bool]

    @property
    def edits(self) -> bool:
        """True if the completion changes principles."""
        return self.kind in _EDITED


def words() -> set[str]:
    """Every word the corpus writes, from the places it is written in."""
    texts = [template(stage, compact=True) for stage in STAGES]
    texts += [
        *BRIEFINGS,
        *ASIDES,
        RECITE,
        _ALSO,
        question(1, [("dax", 2)]),
        meaning_sentence("dax", "sum"),
    ]
    texts += [
        step_line("dax", "sum", 1, 2, 3),
        *MEANINGS,
        *SIGNS,
        critique("\nProblem: 1 a 2 b 3\n"),
    ]
    letters = "".join(c if c.isascii() and c.isalpha() else " " for c in " ".join(texts))
    return {w for w in letters.split() if len(w) > 1}


def tokenizer() -> PreTrainedTokenizerFast:
    """The corpus's own tokenizer."""
    return tokens.build(words(), CONTEXT)


def encode(kind: str, talk: Talk, tokenizer: PreTrainedTokenizerFast) -> Document:
    """A conversation as the chat template writes it; replies and their ends are learnt."""
    ids: list[int] = []
    learnt: list[bool] = []
    for role, text in talk:
        said = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        piece = [
            tokenizer.convert_tokens_to_ids(f"<|{role}|>"),
            *said,
            tokenizer.eos_token_id,
        ]
        ids += piece
        learnt += [False] + [role == "assistant"] * (len(piece) - 1)
    found = tokenizer.convert_tokens_to_ids([f"Ġ{meaning}" for meaning in MEANINGS])
    assert isinstance(found, list)  # a list was given
    meanings = set(found)
    return Document(kind, ids, learnt, [i in meanings for i in ids])


def talks(seed: int, course: Course, worlds: bool = False) -> Iterator[tuple[str, Talk]]:
    """Conversations without end: some lessons and some reflections for each convention drawn.

    With `worlds` the conventions are of the share kept for worlds: for measuring, never training.
    """
    rng = random.Random(f"pocket corpus {seed}")
    for _ in range(0 if worlds else course.first_recitals):
        convention = draw_convention(rng, rng.choice((2, 4, 6, 8)), worlds)
        yield "recite", recital(rng, convention)
    while True:
        convention = draw_convention(rng, rng.choice(SIGNS_EACH), worlds)
        if rng.random() < course.recitals:
            yield "recite", recital(rng, convention)
        for _ in range(course.lessons):
            if len(talk := lesson(rng, convention)) > 1:
                yield "act", talk
        for stage, asked, answer in reflections(rng, convention, course.evidence):
            yield stage, [("user", asked), ("assistant", answer)]


def documents(seed: int, tokenizer: PreTrainedTokenizerFast, course: Course) -> Iterator[Document]:
    """The conversations as ids, none longer than the context."""
    for kind, talk in talks(seed, course):
        document = encode(kind, talk, tokenizer)
        if len(document.ids) <= CONTEXT:
            yield document


def batches(
    documents: Iterator[Document], rng: random.Random, tokens: int, pool: int = 1024
) -> Iterator[list[Document]]:
    """Documents of similar length together, at most `tokens` ids with padding."""
    while True:
        waiting = sorted((next(documents) for _ in range(pool)), key=lambda d: len(d.ids))
        packed: list[list[Document]] = [[]]
        for document in waiting:
            if (len(packed[-1]) + 1) * len(document.ids) > tokens:
                packed.append([])
            packed[-1].append(document)
        rng.shuffle(packed)
        yield from packed
