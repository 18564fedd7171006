"""Conversations with tools: definitions first, results of calls as messages of their own."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import envs
from benchmarks.models.tool_templates import TOOL_FAMILIES
from envs.errors import UnknownOption
from envs.tools.calls import ToolCall, read_calls
from harness.active_episode import RolloutConfig
from harness.env_pool import EnvPool
from harness.errors import UsageError
from harness.policies.base import Request, Sampling
from harness.policies.scripted import ScriptedPolicy
from harness.rollout import rollout
from harness.seeds import Seeds
from harness.types import Assignment, Message, SystemPrompt, Task

SEARCH = '<tool_call>{"name": "search", "arguments": {"query_list": ["Orrel"]}}</tool_call>'
BARE = '{"name": "search", "parameters": {"query_list": ["Orrel"]}}'


class Recorder(ScriptedPolicy):
    """A scripted policy that keeps its requests, and takes tools or not."""

    def __init__(self, replies: Sequence[str], takes_tools: bool) -> None:
        self.seen: list[tuple[Message, ...]] = []
        self.takes_tools = takes_tools
        self._replies = replies
        super().__init__(self._say)

    def _say(self, request: Request) -> str:
        self.seen.append(request.conversation)
        return self._replies[sum(m.role == "assistant" for m in request.conversation)]


def played(replies: Sequence[str], takes_tools: bool, **options: Any) -> tuple[Any, Recorder]:
    """One episode of search, and the policy that played it."""
    policy = Recorder(replies, takes_tools)
    pool = EnvPool(lambda split: envs.make("search/fictional", split, **options))
    config = RolloutConfig(policy, pool, Sampling(max_tokens=500), Seeds(0))
    assignment = Assignment(SystemPrompt("Search."), Task("train", 0), 1)
    return next(iter(rollout([assignment], config)))[1], policy


@pytest.mark.parametrize("call", [SEARCH, BARE, f"{SEARCH}\n{SEARCH}"])
def test_results_are_messages_of_their_own_where_the_model_takes_tools(call: str) -> None:
    episode, policy = played([call, "Answer: x"], True, tools="native")
    assert episode.scored and len(episode.turns) == 2
    first, last = policy.seen[0], policy.seen[-1]
    assert [m.role for m in first] == ["tools", "system", "user"]
    assert '"query_list"' in first[0].content and "query_list" not in first[2].content
    results = last[4:]
    assert [m.role for m in results] == ["tool"] * call.count('"search"')
    assert results[0].content.startswith("<tool_response>")
    assert results[-1].content.endswith("4 rounds left.")
    # What the episode shows is the same as one text.
    assert episode.turns[1].observation == "\n".join(m.content for m in results)


def test_tools_are_told_as_text_where_it_does_not() -> None:
    episode, policy = played([SEARCH, "Answer: x"], False, tools="native")
    assert [m.role for m in policy.seen[-1]] == ["system", "user", "assistant", "user"]
    assert "Tools:\n{" in policy.seen[0][1].content
    assert episode.turns[0].observation == policy.seen[0][1].content


def test_search_as_before_offers_nothing_natively() -> None:
    _, policy = played([SEARCH, "Answer: x"], True)
    assert [m.role for m in policy.seen[-1]] == ["system", "user", "assistant", "user"]
    assert "Tools:" not in policy.seen[0][1].content
    old, new = envs.make("search/fictional"), envs.make("search/fictional", tools="native")
    assert old.fingerprint() != new.fingerprint()
    assert old.family_fingerprint() != new.family_fingerprint()  # type: ignore[attr-defined]
    with pytest.raises(UnknownOption, match="text or native"):
        envs.make("search/fictional", tools="both")


def test_a_call_that_fails_is_a_result_that_says_so() -> None:
    bad = '<tool_call>{"name": "open", "arguments": {}}</tool_call>'
    episode, policy = played([bad, "well", "Answer: x"], True, tools="native")
    assert policy.seen[1][-1].role == "tool" and "only tool" in policy.seen[1][-1].content
    assert (
        policy.seen[2][-1].role == "user" and "Call the search tool" in policy.seen[2][-1].content
    )
    assert len(episode.turns) == 3


def test_the_reference_solution_calls_natively() -> None:
    env = envs.make("search/fictional", "train", tools="native")
    for seed in range(5):
        env.reset(seed=seed)
        over = False
        while not over:
            _, reward, over, _, info = env.step(env.oracle())
        assert reward == 1.0 and info["success"]


FORMS: Mapping[str, list[ToolCall]] = {
    'a <tool_call>{"name":"f","arguments":{"a":"</tool_call>"}}</tool_call> b': [
        ToolCall("f", {"a": "</tool_call>"})
    ],
    '<tool_call>\n{"name": "f", "arguments": "{\\"a\\": 1}"}\n</tool_call>': [
        ToolCall("f", {"a": 1})
    ],
    '<tool_call>{"name": "f"}</tool_call><tool_call>{"name": "g"}': [
        ToolCall("f", {}),
        ToolCall("g", {}),
    ],
    '{"name": "f", "parameters": {"a": 1}}': [ToolCall("f", {"a": 1})],
    'Sure. [{"name": "f", "arguments": {}, "id": "x"}]': [ToolCall("f", {})],
    'f{"a": [1]}': [ToolCall("f", {"a": [1]})],
    "<tool_call><function=f><parameter=a>\n12\n</parameter><parameter=b>\nhi\n</parameter>"
    "</function></tool_call>": [ToolCall("f", {"a": 12, "b": "hi"})],
    '<function=f>{"a": 2}</function>': [ToolCall("f", {"a": 2})],
    "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>x y</arg_value></tool_call>": [
        ToolCall("f", {"a": "x y"})
    ],
    '{"name": "other", "arguments": {}}': [],
    'Answer: {"x": 1}': [],
    "[" * 200_000: [],
    "<tool_call>" * 20_000: [],
}


@pytest.mark.parametrize("reply", FORMS, ids=lambda text: text[:20])
def test_calls_are_read_in_the_forms_of_many_models(reply: str) -> None:
    found = [call for call in read_calls(reply, frozenset({"f", "g"}))[1] if not call.problem]
    assert found == FORMS[reply]


@pytest.mark.parametrize(
    "inside", ["oops!", '{"name": 3}', '{"name": "f", "arguments": "x"}', "[1]"]
)
def test_a_tag_without_a_call_is_a_problem(inside: str) -> None:
    (call,) = read_calls(f"<tool_call>{inside}</tool_call>")[1]
    assert call.problem


@pytest.mark.parametrize("native", [False, True])
def test_a_model_is_trained_with_tools(native: bool, tiny_model: Path, tmp_path: Path) -> None:
    """`pocket` has no tools in its chat template, so they are told as text; the other one has."""
    import harness

    model = "pocket"
    if native:
        shutil.copytree(tiny_model, tmp_path / "model")
        template = TOOL_FAMILIES["section"].template
        (tmp_path / "model" / "chat_template.jinja").write_text(template)
        model = f"hf:{tmp_path / 'model'}"
    summary = harness.run(
        env="search/fictional",
        model=model,
        test_tasks=2,
        samples=1,
        run_dir=tmp_path / "run",
        settings=[
            *("env.tools=native", f"model.tools={'native' if native else 'auto'}"),
            *("budget.episodes=8", "budget.tasks=2", "budget.prompts=2", "budget.samples=2"),
            "sampling.max_tokens=16",
        ],
    )
    entry = summary.entries[0]
    assert entry.track.tools == ("native" if native else "auto") and len(entry.outcomes) == 2


def test_a_model_without_tools_refuses_them_in_a_sentence(tmp_path: Path) -> None:
    import harness

    settings = ["env.tools=native", "model.tools=native", "budget.episodes=8"]
    with pytest.raises(UsageError, match=r"does not write tools.*model\.tools=text"):
        harness.run(env="search/fictional", model="pocket", run_dir=tmp_path, settings=settings)
