# ruff: noqa: E501
"""Targets of `benchmarks.fuzz`: every parser of text from a model or a stranger.

A target takes a text and raises only if a guarantee is broken: an exception that its caller does
not expect, or a property that does not hold. Setting a target up may take seconds; a call must not.
"""

from __future__ import annotations

import atexit
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

from benchmarks.fuzz_pipes import PIPES, SAMPLES, Target
from benchmarks.fuzz_records import RECORDS
from benchmarks.fuzz_verdicts import verdicts


def edits() -> Target:
    from agents.parts.prompts.edit_parser import parse_edits
    from agents.parts.prompts.edits import MAX_CHARACTERS, apply

    parent = ("Carry the one.", "Read twice.", "Check signs.")

    def check(text: str) -> None:
        reading = parse_edits(text, len(parent), 8)
        after, _ = apply(parent, reading.edits)
        assert len(after) <= len(parent) + 8
        for principle in after:
            assert principle.isprintable() and len(principle) <= MAX_CHARACTERS
            assert "<|" not in principle and "|>" not in principle and "[INST]" not in principle

    return check


def tool_call() -> Target:
    from envs.search.tool import MalformedCall, format_error, parse_queries, single_line

    def check(text: str) -> None:
        with suppress(MalformedCall):
            for query in parse_queries(text):
                assert query.isprintable() and query.encode()
        assert single_line(text).isprintable()
        format_error(single_line(text)).encode()

    return check


def answers() -> Target:
    from envs.arithmetic import stated_number
    from envs.calibration import stated_digit
    from envs.grading.answer_graders import GRADERS
    from envs.grading.boxed_answer import last_boxed, objection
    from envs.search.scoring import exact_match, f1, stated_answer
    from harness.reward_hacking import number, several, stated_answers

    canary = "q7Zx9Kw2"  # no input holds it by chance; who watches comparisons may guess it
    references = {
        "exact": canary,
        "contains": canary,
        "number": "918273645546372819",
        "choice": "Q",
    }

    def check(text: str) -> None:
        if (box := last_boxed(text)) is not None:
            objection(box, "2")
        stated_number(text)
        digit = stated_digit(text)
        assert digit is None or (digit.isascii() and digit in text)
        said = stated_answer(text)
        assert not exact_match(said or "", canary) or canary.casefold() in text.casefold()
        assert 0 <= f1(said or "", canary) <= 1
        plain = "".join(c for c in normalize("NFKC", text).casefold() if c.isalnum())
        for name, reference in references.items():
            if name != "choice" and reference.casefold() not in plain:
                assert not GRADERS[name].judge(text, reference).success, name
            GRADERS[name].judge(text, "Q")
        several(text)
        for one in stated_answers(text):
            number(one)

    return check


def terminal() -> Target:
    from envs.terminal.env import parse_action

    def check(text: str) -> None:
        parse_action(text)

    return check


def actions() -> Target:
    import gymnasium
    from gymnasium import spaces

    from envs.adapters.text_spaces import SpaceText, UnreadableAction

    class Still(gymnasium.Env[Any, Any]):
        observation_space = spaces.Discrete(3)

        def __init__(self, space: spaces.Space[Any]) -> None:
            self.action_space = space

    import numpy as np

    kinds = [
        spaces.Discrete(4),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Box(-1.0, 1.0, (2,), np.float32),
        spaces.Tuple((spaces.Discrete(2), spaces.Discrete(3))),
        spaces.Dict({"turn": spaces.Discrete(2), "speed": spaces.Discrete(3)}),
    ]
    readers = [(SpaceText(Still(kind)), kind) for kind in kinds]

    def check(text: str) -> None:
        for reader, space in readers:
            with suppress(UnreadableAction):
                assert space.contains(reader.read(text)), space

    return check


def config() -> Target:
    from harness.errors import UsageError
    from harness.runs.request import build_request
    from harness.settings.old_names import modern
    from harness.settings.sources import parse_set, read_toml

    path = Path(tempfile.mkdtemp(prefix="fuzz-")) / "c.toml"

    def check(text: str) -> None:
        with suppress(UsageError):
            section, key, value = parse_set(text)
            build_request(modern({section: {key: value}})[0])
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with suppress(UsageError):
            build_request(modern(read_toml(path))[0])

    return check


def jsonl() -> Target:
    from envs.datasets import read_jsonl
    from envs.errors import EnvError
    from envs.jsonl import read_lines

    path = Path(tempfile.mkdtemp(prefix="fuzz-")) / "q.jsonl"

    def check(text: str) -> None:
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        for parse_edits in (read_lines, read_jsonl):
            with suppress(EnvError):
                parse_edits(path)

    return check


def rendering(model: str = "pocket") -> Target:
    """Special tokens and role markers in any message stay text."""
    from transformers import AutoTokenizer

    from harness.policies.chat.rendering import Rendering
    from harness.policies.registry import EMBEDDED
    from harness.types import Message

    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED[model]().folder)
    made = Rendering(tokenizer)
    controls = set(made._controls)

    def count(text: str) -> list[int]:
        talk = (Message("system", text), Message("user", text), Message("assistant", text))
        ids = made.prompt((*talk, Message("user", text))).ids
        return [i for i in ids if i in controls]

    plain = count("x")

    def check(text: str) -> None:
        assert count(f"x{text}x") == plain, "text became a control token"

    return check


def workers() -> Target:
    """A grading worker's answers: one line of JSON each, whatever a box holds."""
    from envs.grading.boxed_answer import objection
    from envs.grading.worker import make_judge

    judge = make_judge()

    def check(text: str) -> None:
        box = " ".join(text.split())[:300]
        if objection(box, "918273645"):
            return
        job = json.loads(json.dumps({"box": box, "answer": "918273645"}))
        line = json.dumps(judge(job))
        assert "\n" not in line
        assert not json.loads(line).get("right") or _says_it(box), line

    return check


def _says_it(text: str) -> bool:
    """True if the digits of the reference answer occur in the text in order."""
    return "918273645" in "".join(sign for sign in normalize("NFKC", text) if sign.isdigit())


def grader() -> Target:
    """The whole grader, worker and deadline included: never right, and always in time."""
    from envs.grading.pool import Grader

    pool = Grader(workers=1, deadline=2.0)
    atexit.register(pool.close)

    def check(text: str) -> None:
        verdict = pool.grade(f"\\boxed{{{text[:300]}}}", "918273645")
        assert not verdict.success or _says_it(text), text

    return check


TARGETS: dict[str, Callable[[], Target]] = {
    "edits": edits,
    "tool_call": tool_call,
    "answers": answers,
    "terminal": terminal,
    "actions": actions,
    "config": config,
    "jsonl": jsonl,
    "rendering": rendering,
    "rendering_smollm2": lambda: rendering("smollm2"),
    "workers": workers,
    "grader": grader,
    "verdicts": verdicts,
    **RECORDS,
    **PIPES,
}

WORDS = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "</s>", "<s>", "[INST]", "<<SYS>>", "<unk>",
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<|pad|>", "system\n", "assistant\n",
    '{"name": "search", "arguments": {"query_list": ["a"]}}', "```sh\nls\n```", "Done\n",
    "ADD: ", "MODIFY 1: ", "MERGE 1, 2: ", "REMOVE 3", "NONE", '{"operation": "ADD", "principle": ',
    "\\boxed{", "}", "{", "\\frac{1}{2}", "\\sqrt{", "^{", "\\text{", "\\pm", "=", "\\%", "918273645",
    "Answer: ", "Action: ", "1, 2", " or ", "9" * 50, "-", "1e9999", "NaN", "Infinity", "0x1", "null",
    "\x1b[31m", "\x1b]52;c;QQ==\x07", "\x1b]8;;http://x\x1b\\", "\u202e", "\u2066", "\x00", "\ud800",
    "\udfff", "٤", "２", "é", "🙂", "\u200b", "\ufeff", "\r\n", "\n", "\t", "|", "[bold]", "[/]",
    "<script>alert(1)</script>", "javascript:alert(1)", "=cmd|' /C calc'!A0", "[", "]", "(", ")",
    '"', "'", "\\", "$", "%", "#", "[env]\n", "name = ", "[method]\n", "model.seed=", "sampling.top_p=",
    "turn = 1; speed = 2", "true", "false", '"task":', '"turns": [', '"reward":', '"scores": {"a": 1}',
    '"population": [{"id": "a", "mu": 1}]', '"state": {', '"signs": {', '"spent": {', '"prompt":',
)  # fmt: skip
"""Bits that the readers look for, or must not be fooled by."""


def samples(name: str) -> list[str]:
    """Well-formed inputs to begin from."""
    if name in SAMPLES:
        return SAMPLES[name]
    if name in ("entry", "board"):
        golden = Path(__file__).parents[1] / "tests/leaderboards/golden/v1.entry.json"
        from leaderboards.records.entry import Entry

        whole = Entry.from_json(golden.read_text())
        hostile = replace(whole, method="[bold]\x1b[31m|<script>=1+1")
        return [golden.read_text(), hostile.to_json()]
    if name in ("show", "site"):
        spent = '{"episodes": 1, "acting_tokens": 1, "reflection_tokens": 0, "gradient_steps": 0}'
        return [
            '{"round": 0, "reward": 0.5, "scores": {"a": 1}, "lines": ["x"], "spent": '
            + spent
            + "}",
            '{"round": 0, "state": {"population": [{"id": "a", "mu": 1.0, "sigma": 1.0, "played": 1,'
            ' "origin": "root", "born": 0, "parents": [], "principles": ["p"]}]}}',
            '{"round": 0, "task": "train:0", "sample": 0, "success": true, "reward": 1.0, "ending":'
            ' "terminated", "error": "", "feedback": "", "turns": [{"observation": "o", "reply": "r"}]}',
        ]
    if name == "config":
        return ['[env]\nname = "arithmetic"\n', "method.learning_rate=1e-5", "run.seed=3"]
    if name == "jsonl":
        return ['{"question": "q", "answer": "a"}\n{"problem": "p", "answer": 3}\n']
    return ["Answer: 3", "\\boxed{42}", "Action: 1; 2", "ADD: Check signs.\nMODIFY 2: Read."]
