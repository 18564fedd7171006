"""Prompt evolution behind an API, through the command line. The server is a loopback stand-in."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from standin import Body, completion, served, streamed

from harness.cli.main import main

SMALL = ["--episodes", "96", "--test-tasks", "6", "--samples", "2", "--preset", "laptop"]


def replying(body: Body, earlier: int) -> tuple[int, Body]:
    """A server that adds well when told to be careful, and otherwise every other time."""
    said = "\n".join(m["content"] for m in body["messages"])
    if not body["messages"][-1]["content"].startswith("What is"):
        return 200, completion("ADD: Be careful and check every sum.", tokens=9)
    careful = "Be careful" in said or body.get("seed", 1) % 2
    question = body["messages"][-1]["content"].removeprefix("What is ").rstrip("?")
    terms = question.replace("×", "*").replace("x", "*").split()
    total = int(terms[0])
    for sign, number in zip(terms[1::2], terms[2::2], strict=True):
        total = total + int(number) if sign == "+" else total - int(number)
    answer = total if careful and "*" not in terms else -1
    return 200, completion(f"Answer: {answer}", tokens=4)


def test_an_endpoint_is_evaluated_and_its_prompt_evolved(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with served(replying) as (url, seen):
        words = ["run", "--env", "arithmetic", "--model", url, "--method", "base,evolution", *SMALL]
        assert main([*words, "--run-dir", "out", "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    runs = {run["method"]: run for run in told["runs"]}
    assert len(told["boards"]) == 1
    assert runs["evolution"]["episodes"] == 96
    acting = 12 + 12 + 96
    reflecting = sum(not b["messages"][-1]["content"].startswith("What is") for b in seen)
    assert reflecting > 0
    assert runs["evolution"]["acting_tokens"] == 96 * 4
    assert runs["evolution"]["reflection_tokens"] > 0
    assert len(seen) >= acting + reflecting
    principles = json.loads((tmp_path / "out/evolution-seed0/champion.json").read_text())
    assert principles["principles"] == ["Be careful and check every sum."]
    assert runs["evolution"]["score"] > runs["base"]["score"]


def test_an_endpoint_that_breaks_leaves_its_episodes_unscored(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def flaky(body: Body, earlier: int) -> tuple[int, Body]:
        if earlier and body.get("seed", 1) % 3 == 0:
            return 500, {"error": {"message": "broken"}}
        return replying(body, earlier)

    with served(flaky) as (url, _):
        words = ["run", "--env", "arithmetic", "--model", url, "--method", "base", *SMALL]
        words += ["--set", "model.retries=0", "--set", "model.timeout=10"]
        assert main([*words, "--run-dir", "out", "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    run = told["runs"][0]
    assert run["score"] == told["boards"][0]["rows"][0]["score"]
    outcomes = json.loads((tmp_path / "out/entry.json").read_text())["outcomes"]
    broken = [o for o in outcomes if o["status"] == "unscored"]
    assert run["unscored"] == len(broken) > 0
    assert all(o["reward"] is None for o in broken)


def test_an_endpoint_that_is_gone_costs_no_test_opening(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    gone = True

    def leaving(body: Body, earlier: int) -> tuple[int, Body]:
        return (
            (500, {"error": {"message": "gone"}}) if gone and earlier else replying(body, earlier)
        )

    with served(leaving) as (url, _):
        words = ["run", "--env", "arithmetic", "--model", url, "--method", "base", *SMALL]
        assert (
            main(
                [
                    *words,
                    "--set",
                    "model.retries=0",
                    "--set",
                    "model.patience=0",
                    "--run-dir",
                    "out",
                    "--quiet",
                ]
            )
            == 4
        )
        assert "harness resume" in capsys.readouterr().err
        assert not (tmp_path / "out/entry.json").exists()
        gone = False
        assert main(["resume", "out", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["unscored"] == 0


def test_slow_replies_are_neither_lost_nor_left_unscored(tmp_path, monkeypatch, capsys):
    """Half of the completions grow for longer than model.timeout; one is stuck at first."""
    monkeypatch.chdir(tmp_path)
    go_on, stuck = threading.Event(), True

    def slow(body: Body, earlier: int) -> tuple[int, Any]:
        whole = replying(body, earlier)[1]
        if not body["messages"][-1]["content"].startswith("What is"):
            return 200, streamed(whole)
        key = json.dumps([body["messages"], body["seed"]])
        asked[key] += 1
        if stuck and len(asked) == 5 and asked[key] == 1:
            stalled.append(key)
        if stuck and key in stalled:
            go_on.wait(30)
        events = list(streamed(whole))
        return 200, slowly(events, 3.5 if body["seed"] % 2 else 0.0)

    asked: Counter[str] = Counter()
    stalled: list[str] = []
    with served(slow) as (url, _):
        words = ["run", "--env", "arithmetic", "--model", url, "--method", "base", *SMALL]
        words += ["--set", "model.retries=0", "--set", "model.timeout=2"]
        assert main([*words, "--run-dir", "out", "--json", "--quiet"]) == 4
        told = capsys.readouterr().err
        assert "1 of 12 completions" in told and "--set model.timeout=SECONDS" in told
        stuck = False
        go_on.set()
        more = ["--set", "model.timeout=20"]
        assert main(["resume", "out", *more, "--json", "--quiet"]) == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    assert run["unscored"] == 0
    outcomes = json.loads((tmp_path / "out/entry.json").read_text())["outcomes"]
    assert [o["status"] for o in outcomes] == ["scored"] * 12
    # Each was asked for once, and the stuck one once more.
    assert sorted(asked.values()) == [1] * 11 + [2]
    assert asked[stalled[0]] == 2


def slowly(events: list[bytes], seconds: float) -> Iterator[bytes]:
    """A stream that takes so long, evenly."""
    for event in events:
        time.sleep(seconds / len(events))
        yield event
