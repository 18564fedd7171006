"""Searching a generated encyclopedia: the answers stand nowhere else.

The embedded search world: no data, no download, no contamination, and short enough for a model
with a context of 1,024 tokens. `world_seed` draws the encyclopedia; worlds of different seeds are
one family.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from envs.errors import EnvError
from envs.fingerprint import digest
from envs.search.base_env import SearchEnvBase, whole_number
from envs.search.corpus import Corpus, Passage
from envs.search.encyclopedia import GENERATOR_VERSION, MAX_HOPS, Puzzle, draw_encyclopedia
from envs.search.native import DEFINITION
from envs.search.scoring import join_answers
from envs.search.tool import PROTOCOL_VERSION
from envs.text_env import SPLITS, Problem, Split

SIZES: Mapping[Split, int] = {"train": 180, "validation": 60, "test": 120}
SYSTEM_PROMPT = """\
Answer the question with facts from a search tool. To search, reply with a tool call:
<tool_call>{"name": "search", "arguments": {"query_list": ["a name"]}}</tool_call>
What is found comes back in the next message. Search step by step: what is found names what to \
search for next. To finish, reply with a line that says Answer: and one to five words.

Example
Question: Who leads the guild of Jana Mirk?
You: <tool_call>{"name": "search", "arguments": {"query_list": ["Jana Mirk"]}}</tool_call>
Result: [1] Jana Mirk: Jana Mirk belonged to the Orrel guild.
You: <tool_call>{"name": "search", "arguments": {"query_list": ["Orrel guild"]}}</tool_call>
Result: [1] Orrel: The Orrel guild is led by Tol Ander.
You: Answer: Tol Ander"""


@dataclass(frozen=True, slots=True)
class DrawnQuestions:
    """A seed's corpus, its tasks by split, and the passages that lead to each answer."""

    corpus: Corpus
    tasks: Mapping[Split, tuple[Puzzle, ...]]
    paths: Mapping[str, tuple[Passage, ...]]


@lru_cache(maxsize=16)
def draw_questions(world_seed: int, hops: int) -> DrawnQuestions:
    """A seed's encyclopedia, and questions of 1 … `hops` hops, as many of each, in turn."""
    book = draw_encyclopedia(world_seed)
    passages = {t: Passage(t, t, article.text) for t, article in book.articles.items()}
    tasks = {
        split: tuple(
            book.puzzles[split][1 + number % hops][number // hops] for number in range(SIZES[split])
        )
        for split in SPLITS
    }
    # A question spells out its path from a title that no other article has, so its text is a key.
    paths = {
        puzzle.text: tuple(passages[title] for title in puzzle.path)
        for puzzles in tasks.values()
        for puzzle in puzzles
    }
    return DrawnQuestions(Corpus(passages.values()), tasks, paths)


class Fictional(SearchEnvBase):
    """Answer questions about an invented world by searching its encyclopedia.

    Args:
        world_seed (at least 0): Seed that the encyclopedia is drawn from.
        hops (1 to 3; in articles): Articles that a question may lead through at most.
    """

    name = "search/fictional"
    system_prompt = SYSTEM_PROMPT
    reply_tokens = 96

    def __init__(
        self,
        *,
        split: Split = "train",
        world_seed: int = 0,
        hops: int = MAX_HOPS,
        rounds: int = 5,
        results: int = 2,
        passage_characters: int = 300,
        retriever: str = "bm25",
        tools: str = "text",
    ) -> None:
        if isinstance(world_seed, bool) or not isinstance(world_seed, int) or world_seed < 0:
            raise EnvError(f"world_seed must be a whole number from 0 on, not {world_seed!r}.")
        self.world_seed = world_seed
        self.hops = whole_number("hops", hops, 1, MAX_HOPS)
        self._drawn = draw_questions(world_seed, self.hops)
        super().__init__(
            split=split,
            corpus=self._drawn.corpus,
            rounds=rounds,
            results=results,
            passage_characters=passage_characters,
            retriever=retriever,
            tools=tools,
        )

    @property
    def family(self) -> str:
        """The Track family: environments that differ in their seed only."""
        return self.name

    def family_fingerprint(self) -> str:
        """The hash of what the family shares: generator, grader, tool and limits."""
        facts = [
            self.name,
            GENERATOR_VERSION,
            self.grader_version,
            PROTOCOL_VERSION,
            self.retrieval,
            [self.hops, self.rounds, self.results, self.passage_characters],
        ]
        return digest([*facts, dict(DEFINITION)] if self.native else facts)

    def size(self, split: Split) -> int:
        """The number of tasks, the same in every environment of the family."""
        return SIZES[split]

    def problem(self, split: Split, index: int) -> Problem:
        """One question."""
        puzzle = self._drawn.tasks[split][index]
        id = f"{self.name}:{self.world_seed}:{split}-{index}"
        return Problem(id, puzzle.text, join_answers(puzzle.answers))

    def gold_passages(self, problem: Problem) -> Sequence[Passage]:
        """The articles that lead to the answer."""
        return self._drawn.paths[problem.text]

    def plan(self, problem: Problem) -> Sequence[Sequence[str]]:
        """One name after the other."""
        return [[passage.title] for passage in self.gold_passages(problem)]

    def rules(self) -> str:
        """The generator's version and the seed too."""
        return f"generator {GENERATOR_VERSION}, world seed {self.world_seed}, {super().rules()}"

    @classmethod
    def sizes(cls) -> Mapping[str, int]:
        """By construction."""
        return {split: SIZES[split] for split in SPLITS}
