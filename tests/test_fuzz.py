"""A small sample of `benchmarks.fuzz`: foreign text breaks no reader, however odd or long."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import fuzz, tried
from benchmarks.fuzz_targets import TARGETS, WORDS, samples
from harness.cli.main import main

QUICK = [
    "edits", "tool_call", "answers", "terminal", "actions", "entry", "config", "jsonl", "show",
    "verdicts", "cells",
]  # fmt: skip
texts = st.lists(
    st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), min_size=0, max_size=12
).map("".join)
_made: dict[str, object] = {}


def target(name):
    if name not in _made:
        _made[name] = TARGETS[name]()
    return _made[name]


@pytest.mark.parametrize("name", QUICK)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=texts)
def test_readers_of_foreign_text_keep_their_promises(name, text):
    target(name)(text)
    for known in samples(name):
        target(name)(known[: len(known) // 2] + text + known[len(known) // 2 :])


@pytest.mark.parametrize("name", ["board", "rendering"])
def test_boards_and_prompts_keep_theirs(name):
    assert fuzz(name, seed=0, seconds=1.5, count=40, deadline=30.0)["found"] == 0


def test_the_driver_finds_what_is_broken_and_what_is_late(monkeypatch):
    def broken(text):
        if "|" in text:
            raise ValueError("a bar")

    monkeypatch.setitem(TARGETS, "edits", lambda: broken)
    assert fuzz("edits", seed=0, seconds=0, count=400, deadline=5.0)["found"] == 1

    def late(text):
        while True:
            pass

    assert tried(late, "", 0.1) == "longer than 0.1 s"


def test_show_refuses_logs_that_no_run_wrote(tmp_path, capsys):
    target("show")  # which makes a run directory
    from harness.runs.request import write_request
    from harness.settings.config import Config

    write_request(Config(), tmp_path)
    (tmp_path / "rounds.jsonl").write_text(json.dumps({"round": 0}) + "\n")
    assert main(["show", str(tmp_path)]) == 5
    assert "holds a log that no run of this version wrote" in capsys.readouterr().err
