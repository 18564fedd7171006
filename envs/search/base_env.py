"""The base of environments with a search tool: search, read, search again, answer.

An episode has at most `rounds` replies. A reply with tool calls gets what they found, or why they
cannot be followed, as the next observation; a reply with "Answer:" and no call ends the episode.
A reply that does neither is told so. Each costs a round, and after the last the episode is
truncated. The reward is exact match; F1 is told in `info` and in the feedback (E-SPL §4.1).
"""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from envs.errors import EnvError, UnknownOption, option_key
from envs.fingerprint import digest
from envs.grading.thoughts import answer_part
from envs.search.corpus import Corpus, Passage
from envs.search.native import DEFINITION, NATIVE_PROMPT, answer_calls, search_calls
from envs.search.retrieval import Retriever, shared_retriever
from envs.search.scoring import accepted_answers, exact_match, f1, stated_answer
from envs.search.tool import (
    PROTOCOL_VERSION,
    MalformedCall,
    SearchHit,
    format_call,
    format_error,
    format_results,
    parse_queries,
)
from envs.text_env import Problem, Split, TextEnv
from envs.verdict import Verdict

MAX_ANSWER_WORDS = 5
_NEITHER = 'The reply has neither a tool call nor a line with "Answer:".'
_EMPTY = 'Nothing follows "Answer:".'
_HOW = (
    'Search with <tool_call>{"name": "search", "arguments": {"query_list": ["…"]}}</tool_call> or'
    " finish with Answer: and one to five words."
)
_HOW_NATIVE = "Call the search tool, or finish with Answer: and one to five words."

SYSTEM_PROMPT = """\
Answer the question with facts from a search tool. To search, reply with a tool call:
<tool_call>{"name": "search", "arguments": {"query_list": ["first query", "second query"]}}\
</tool_call>
The passages found come back in the next message; then search again or answer. Where one fact \
leads to another, search step by step. Do not guess what a search can tell. To finish, reply with \
a line that says Answer: and one to five words.

Example
Question: In which country was the maker of the Orrel clock born?
You: <tool_call>{"name": "search", "arguments": {"query_list": ["Orrel clock maker"]}}</tool_call>
Result: [1] Orrel clock: The Orrel clock was built by Jana Mirk.
You: <tool_call>{"name": "search", "arguments": {"query_list": ["Jana Mirk born"]}}</tool_call>
Result: [1] Jana Mirk: Jana Mirk was born in Tolland, a country by the sea.
You: Answer: Tolland"""


def whole_number(name: str, value: object, least: int, most: int) -> int:
    """An option's value; raises EnvError where it is no whole number in that range."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise EnvError(f"{name} must be a whole number from {least} to {most}, not {value!r}.")
    return value


class SearchEnvBase(TextEnv):
    """Questions over a corpus, answered by searching it.

    Args:
        corpus: Passages to search; one object for all environments of a process that search the
            same.
        rounds (1 to 100; in completions): Completions of an episode at most, the answer included.
        results (1 to 50; in passages): Passages returned for one query.
        passage_characters (50 to 1000000; in characters): Length at which a returned passage is cut
            off.
        retriever: Retriever: "bm25", or "dense:MODEL" with an embedding model.
        tools (one of text, native): Way in which the tool is offered: "text" describes calls in the
            initial system prompt, "native" hands its definition to the model's chat template or
            endpoint. Results with native have a Track of their own.
    """

    system_prompt = SYSTEM_PROMPT
    reply_tokens = 512
    grader_version = "squad-2"
    max_answer_words: ClassVar[int] = MAX_ANSWER_WORDS

    def __init__(
        self,
        *,
        split: Split,
        corpus: Corpus,
        rounds: int,
        results: int,
        passage_characters: int,
        retriever: str,
        tools: str = "text",
    ) -> None:
        super().__init__(split=split)
        if tools not in ("text", "native"):
            raise UnknownOption(f"{option_key('tools')} is {tools!r}, but is text or native.")
        self.native = tools == "native"
        if self.native:
            self.system_prompt = NATIVE_PROMPT
        self._results: list[str] = []
        self.rounds = whole_number("rounds", rounds, 1, 100)
        self.results = whole_number("results", results, 1, 50)
        self.passage_characters = whole_number(
            "passage_characters", passage_characters, 50, 1_000_000
        )
        self._retriever: Retriever = shared_retriever(retriever, corpus)
        self.corpus = corpus
        self._reset_state()

    @abstractmethod
    def gold_passages(self, problem: Problem) -> Sequence[Passage]:
        """The passages that hold what the answer follows from; () where nobody says."""

    @abstractmethod
    def plan(self, problem: Problem) -> Sequence[Sequence[str]]:
        """The searches of a reference solution, round by round."""

    @property
    def retrieval(self) -> str:
        """The retrieval method, as it enters fingerprints."""
        return self._retriever.identity

    def rules(self) -> str:
        """Everything between question and score: corpus, retrieval, limits, protocol."""
        facts = [
            self.corpus.fingerprint,
            self.retrieval,
            PROTOCOL_VERSION,
            self.rounds,
            self.results,
            self.passage_characters,
        ]
        # Left out at the value that earlier versions had, whose fingerprints hold.
        return digest([*facts, dict(DEFINITION)] if self.native else facts)

    @property
    def tool_definitions(self) -> Sequence[Mapping[str, Any]]:
        """The search tool, where it is offered natively."""
        return (DEFINITION,) if self.native else ()

    def judge(self, reply: str, answer: str) -> Verdict:
        """Exact match of what follows the last "Answer:"; a reply with a tool call is no answer."""
        visible = answer_part(reply)
        if search_calls(visible) if self.native else _calls(visible):
            return Verdict.wrong("Wrong: a tool call is no answer.")
        stated = stated_answer(visible)
        if stated is None:
            return Verdict.wrong('Wrong: the reply has no "Answer:" with words after it.')
        if exact_match(stated, answer):
            return Verdict.right()
        count = len(stated.split())
        long = f" The answer has {count} words." if count > self.max_answer_words else ""
        return Verdict.wrong(f"Wrong (F1 {f1(stated, answer):.2f}).{long}")

    def oracle(self) -> str:
        """The plan's next search, then the answer; a plan too long for the rounds is cut."""
        problem = self.current
        # The last round is kept for the answer.
        searches = list(self.plan(problem))[: self.rounds - 1]
        if self._round < len(searches):
            return format_call(*searches[self._round])
        return f"Answer: {accepted_answers(problem.answer)[0]}"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start a question; whatever an abandoned episode found is forgotten."""
        text, info = super().reset(seed=seed, options=options)
        self._reset_state()
        return f"Question: {text}", info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Search, answer, or be told what is wrong with the reply."""
        problem = self.current
        self._round += 1
        observation, note = self._respond(answer_part(action))
        if observation is None:
            return self._end_with_answer(action, problem)
        left = self.rounds - self._round
        if left == 0:
            return self._end_without_answer(problem)
        info = self.task_info(problem) | {"outcome": "scored", "success": False, "feedback": note}
        if self._results:
            *others, last = self._results
            info["tool_results"] = (*others, f"{last}\n{_countdown(left)}")
        return f"{observation}\n{_countdown(left)}", 0.0, False, False, info

    def _reset_state(self) -> None:
        self._round = 0
        self._results = []
        self._seen: set[str] = set()

    def _respond(self, visible: str) -> tuple[str | None, str]:
        """The next observation and what to note of it; no observation where the reply answers."""
        if self.native and (calls := search_calls(visible)):
            self._results, failed = answer_calls(calls, self._search, format_error)
            return "\n".join(self._results), failed or "Searched."
        self._results = []
        try:
            queries = () if self.native else parse_queries(visible)
        except MalformedCall as error:
            return format_error(str(error)), f"The tool call failed: {error}"
        if queries:
            return self._search(queries), "Searched."
        if stated_answer(visible) is not None:
            return None, ""
        problem = _EMPTY if re.search(r"answer[ \t]*[:：]", visible, re.IGNORECASE) else _NEITHER
        return f"{problem} {_HOW_NATIVE if self.native else _HOW}", problem

    def _search(self, queries: Sequence[str]) -> str:
        """The passages for some queries, as text."""
        results = [SearchHit(q, self._retriever.search(q, self.results)) for q in queries]
        self._seen |= {passage.id for result in results for passage in result.passages}
        return format_results(results, self.passage_characters)

    def _end_with_answer(
        self, action: str, problem: Problem
    ) -> tuple[str, float, bool, bool, dict[str, Any]]:
        verdict = self.judge(action, problem.answer)
        stated = stated_answer(answer_part(action)) or ""
        info = self._end(problem, verdict) | {"f1": f1(stated, problem.answer)}
        return "", verdict.reward, True, False, info

    def _end_without_answer(
        self, problem: Problem
    ) -> tuple[str, float, bool, bool, dict[str, Any]]:
        verdict = Verdict.wrong("Wrong: no answer when the rounds ran out.")
        return "", 0.0, False, True, self._end(problem, verdict) | {"f1": 0.0}

    def _end(self, problem: Problem, verdict: Verdict) -> dict[str, Any]:
        self._current = None
        return self.task_info(problem) | {
            "outcome": verdict.outcome,
            "success": verdict.success,
            "feedback": self.feedback(verdict, problem),
        }

    def feedback(self, verdict: Verdict, problem: Problem) -> str:
        """The usual feedback; in training also which of the gold passages the searches missed."""
        text = super().feedback(verdict, problem)
        gold = {p.id: p.title for p in self.gold_passages(problem)}
        if self.split == "test" or not gold:
            return text
        missed = [f"'{title}'" for id, title in gold.items() if id not in self._seen]
        found = f"The searches found {len(gold) - len(missed)} of {len(gold)} needed passages"
        return f"{text} {found}{'; missed: ' + ', '.join(missed) if missed else ''}."


def _countdown(left: int) -> str:
    if left == 1:
        return "This is the last round: answer now."
    return f"{left} rounds left."


def _calls(visible: str) -> bool:
    try:
        return bool(parse_queries(visible))
    # A call that cannot be followed is one all the same: the reply meant to search.
    except MalformedCall:
        return True
