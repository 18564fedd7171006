"""Does a world keep the rules that every number depends on? Each check says what it found.

A check passes, fails, or is not asked (a world of somebody else's may have no oracle). The checks
play the world; they never decide what it is worth.
"""

import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gymnasium.utils.env_checker import check_env

from envs.checks.env_probe import (
    MOST_TURNS,
    PLAYED,
    EnvProbe,
    Replies,
    identity,
    play,
    rest,
    saying,
)
from envs.text_env import SPLITS, Split

Status = Literal["passed", "failed", "not asked"]
_SECONDS = 10.0  # for one reply, however long
_SPEED_SECONDS = 1.0
_REFERENCE_SECONDS = 10.0  # for the references of one split, after the first
_TOLD = 20  # test tasks whose feedback is read
CRUMBS = 0.05
"""What any answer may earn: some partial scores of other packages are above zero for anything."""
NONSENSE = ("", "xyzzy plugh", "☃ bananas 🙂", "I do not know.")
HARD_REPLIES: Mapping[str, str] = {
    "emoji, right-to-left and combining signs": "🙂👩‍🔬 שלום مرحبا é \u202e Å 中文",
    "control signs and NUL": "\x00\x07\x1b[31m\r\n\t\x7f",
    "a lone surrogate": "answer \ud800",
    "100 kB of letters": "a" * 100_000,
    "100 kB of digits": "Answer: " + "7" * 100_000,
    "100 kB of brackets": "(" * 50_000 + "{" * 50_000,
    "100 kB of answers": "Answer: zyx\n" * 8_334,
    "100 kB of boxes": "\\boxed{" * 14_286,
    "100 kB of white space": " \n" * 50_000,
}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was asked of the world, and what came of it, in a sentence."""

    name: str
    status: Status
    said: str


def _oracle(world: Any) -> str:
    return str(world.oracle())


def check(name: str, options: Mapping[str, Any] | None = None) -> Iterator[CheckResult]:
    """Every check in order; a world that cannot be made raises its own error.

    A check in which the world raises has failed, with what was raised.
    """
    subject = EnvProbe(name, dict(options or {}))
    subject.made().close()
    for title, ask in CHECKS.items():
        try:
            status, said = ask(subject)
        except Exception as error:  # whatever somebody's world raises is what we came to find
            status, said = "failed", f"It raised {type(error).__name__}: {str(error)[:300]}"
        yield CheckResult(title, status, said)


def _gymnasium(subject: EnvProbe) -> tuple[Status, str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for split in SPLITS:
            check_env(subject.made(split), skip_render_check=True)
    notes = sorted({str(w.message).splitlines()[0] for w in caught if w.category is UserWarning})
    if notes:
        return "failed", f"Gymnasium's checker warns: {notes[0][:200]}"
    return "passed", "Gymnasium's own checker has nothing to say."


def _same_seed(subject: EnvProbe) -> tuple[Status, str]:
    for split in SPLITS:
        one, two = subject.made(split), subject.made(split)
        for seed in range(min(PLAYED, one.size(split))):
            first, other = one.reset(seed=seed), two.reset(seed=seed)
            again = one.reset(seed=seed)
            if not (first[0] == other[0] == again[0]):
                return "failed", f"Task {seed} of {split} has another text the second time."
            if not (first[1].get("task") == other[1].get("task") == again[1].get("task")):
                return "failed", f"Task {seed} of {split} has another id the second time."
        one.close()
        two.close()
    return "passed", f"The first {PLAYED} seeds of each split give the same task again and again."


_ELSEWHERE = """
import json, sys
told = json.load(sys.stdin)
sys.path[:] = told["path"]
from envs.checks.env_probe import EnvProbe, identity
print(json.dumps(identity(EnvProbe(told["name"], told["options"]))))
"""


def _processes(subject: EnvProbe) -> tuple[Status, str]:
    here = identity(subject)
    # Our own folder first: the working directory may hold another folder called envs.
    path = [str(Path(__file__).resolve().parents[2]), *sys.path]
    job = {"path": path, "name": subject.name, "options": dict(subject.options)}
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return "failed", f"It could not be made in another process: {last[:300]}"
    there = json.loads(done.stdout.strip().splitlines()[-1])
    for what, mine, theirs in zip(("fingerprint", *SPLITS), here, there, strict=True):
        if mine != theirs:
            part = "its fingerprint" if what == "fingerprint" else f"the tasks of {what}"
            return "failed", f"Another process gets {part} otherwise; is a set or hash() used?"
    return "passed", "Another process, with another hash seed, gets the same tasks and fingerprint."


def _disjoint(subject: EnvProbe) -> tuple[Status, str]:
    openings = {split: subject.openings(split) for split in SPLITS}
    for split, others in (("validation", ["train"]), ("test", ["train", "validation"])):
        for other in others:
            ids = {o.task for o in openings[split]} & {o.task for o in openings[other]}  # type: ignore[index]  # all are splits
            if ids:
                return "failed", f"Task '{min(ids)[:80]}' is in {other} and in {split}."
    trained = [*openings["train"], *openings["validation"]]
    pairs, texts = {(o.text, o.answer) for o in trained}, {o.text for o in trained}
    tested = openings["test"]
    asked = sum((o.text, o.answer) in pairs for o in tested if o.answer is not None)
    seen = sum(o.text in texts for o in tested)
    if asked:
        return "failed", f"{asked} of {len(tested)} test tasks are asked in training too."
    looked = ", ".join(f"{len(found)} of {split}" for split, found in openings.items())
    if seen and any(o.answer is None for o in tested):
        return "not asked", (
            f"{seen} of {len(tested)} test tasks open with a text that training has too: only their"
            " seeds differ, so say so beside any score."
        )
    hidden = f"; {seen} tests open like training, but hide something else" if seen else ""
    return "passed", f"No task is in two splits (looked at {looked}{hidden})."


def _right(subject: EnvProbe) -> tuple[Status, str]:
    if not callable(getattr(subject.made(), "oracle", None)):
        return "not asked", "It has no oracle(), so nobody knows a right reply."
    for split in SPLITS:
        world = subject.made(split)
        for seed in range(min(PLAYED, world.size(split))):
            played = play(world, seed, _oracle)
            good = played.over and bool(played.info.get("success"))
            if not good or abs(played.reward - 1) > 1e-9:
                return "failed", (
                    f"The oracle earns {played.reward:g} on task {seed} of {split}, success"
                    f" {bool(played.info.get('success'))}; it should be 1 and True."
                )
        world.close()
    return "passed", f"The oracle earns 1 on the first {PLAYED} tasks of each split."


def _references(subject: EnvProbe) -> tuple[Status, str]:
    known = all(callable(getattr(subject.made(), n, None)) for n in ("renderings", "problem"))
    if not known and not callable(getattr(subject.made(), "oracle", None)):
        return "not asked", "It has no oracle() and no renderings(), so nobody knows right replies."
    references, ways = 0, 0
    for split in SPLITS:
        world, end = subject.made(split), time.monotonic() + _REFERENCE_SECONDS
        for index in range(world.size(split)):
            for reply, verdict in _ways(world, split, index) if known else _told(world, index):
                ways += 1
                if not verdict:
                    return "failed", f"On {split} task {index} the right {reply!r} is not right."
            references += 1
            if time.monotonic() > end:
                break
        world.close()
    total = sum(subject.made().size(split) for split in SPLITS)
    return "passed", f"{references} of {total} reference answers are right, said in {ways} ways."


def _ways(world: Any, split: Split, index: int) -> Iterator[tuple[str, bool]]:
    """Replies that say a task's reference answer in different ways, and whether each is right."""
    answer = world.problem(split, index).answer
    for reply in world.renderings(answer):
        yield reply[:120], world.judge(reply, answer).success


def _told(world: Any, index: int) -> Iterator[tuple[str, bool]]:
    yield "reply of the oracle", bool(play(world, index, _oracle).info.get("success"))


def _nonsense(subject: EnvProbe) -> tuple[Status, str]:
    most = 0.0
    for split in SPLITS:
        world = subject.made(split)
        for seed, text in enumerate(NONSENSE):
            played = play(world, seed, saying(text))
            if not played.over:
                return "failed", f"{text!r} goes on for {MOST_TURNS} turns; end the episode."
            if played.info.get("outcome") != "scored" or played.info.get("success"):
                return "failed", f"{text!r} is {played.info.get('outcome')!r}, not scored as wrong."
            most = max(most, played.reward)
            if played.reward > CRUMBS:
                return "failed", f"{text!r} earns {played.reward:g} on task {seed} of {split}."
        world.close()
    earned = f"at most {most:g}" if most > 0 else "nothing"
    return "passed", f"{len(NONSENSE)} kinds of nonsense earn {earned}, and are scored."


def _feedback(subject: EnvProbe) -> tuple[Status, str]:
    world = subject.made("train")
    replies = [("nonsense", saying("xyzzy plugh"))]
    if callable(getattr(world, "oracle", None)):
        replies.append(("a right reply", _oracle))
    for what, reply in replies:
        if not str(play(world, 0, reply).info.get("feedback") or "").strip():
            return "failed", f"{what[:1].upper()}{what[1:]} gets no feedback on the training split."
    return "passed", f"A teacher has something to say to {' and to '.join(w for w, _ in replies)}."


def _silent(subject: EnvProbe) -> tuple[Status, str]:
    world = subject.made("test")
    for seed in range(min(_TOLD, world.size("test"))):
        answer = str(world.problem("test", seed).answer) if hasattr(world, "problem") else ""
        info = world.reset(seed=seed)[1]
        for text in ("xyzzy plugh", "Answer: 123456789"):
            said = play(world, seed, saying(text)).info
            if info.get("answer") or said.get("answer"):
                return "failed", f"info['answer'] of test task {seed} is not empty."
            feedback = str(said.get("feedback") or "")
            told = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", feedback) if answer else None
            if told and feedback not in ("Right.", "Wrong."):
                return "failed", f"The feedback to test task {seed} tells its answer."
    world.close()
    return "passed", "Neither info nor feedback of the test split tells an answer."


def _hard(subject: EnvProbe) -> tuple[Status, str]:
    world, slowest, which = subject.made("train"), 0.0, ""
    for what, text in HARD_REPLIES.items():
        world.reset(seed=0)
        began = time.monotonic()
        _, reward, _, _, info = world.step(text)
        took = time.monotonic() - began
        if took > slowest:
            slowest, which = took, what
        if took > _SECONDS:
            return "failed", f"A reply of {what} took {took:.1f} s, more than {_SECONDS:g} s."
        if not abs(float(reward)) < float("inf") or info.get("success"):
            return "failed", f"A reply of {what} earns {reward}, success {info.get('success')}."
    world.close()
    return "passed", (
        f"Unicode of every kind and 100 kB of anything are judged (slowest: {which},"
        f" {1000 * slowest:.0f} ms)."
    )


def _apart(subject: EnvProbe) -> tuple[Status, str]:
    reply: Replies = saying("Action: 1\nAnswer: 1")
    alone = [play(subject.made(), seed, reply).told for seed in (0, 1)]
    one, two = subject.made(), subject.made()
    texts = one.reset(seed=0)[0], two.reset(seed=1)[0]
    if [rest(one, texts[0], reply).told, rest(two, texts[1], reply).told] != alone:
        return "failed", "Two instances that play at once do not end as each alone: shared state."
    one.reset(seed=1)
    one.step("xyzzy plugh")
    if play(one, 0, reply).told != alone[0]:
        return "failed", "After an abandoned episode the next one is not as it should be."
    one.close()
    two.close()
    return "passed", "Two instances at once, and an abandoned episode, change nothing."


def _speed(subject: EnvProbe) -> tuple[Status, str]:
    world = subject.made()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _SPEED_SECONDS:
        play(world, count % world.size("train"), saying("Action: 1\nAnswer: 1"))
        count += 1
    rate = count / (time.perf_counter() - began)
    world.close()
    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return "passed", f"{shown} episodes a second in one process, judging included."


CHECKS: Mapping[str, Callable[[EnvProbe], tuple[Status, str]]] = {
    "gymnasium": _gymnasium,
    "same seed, same task": _same_seed,
    "the same in every process": _processes,
    "splits are disjoint": _disjoint,
    "the oracle earns 1": _right,
    "references are right": _references,
    "nonsense earns nothing": _nonsense,
    "feedback says something": _feedback,
    "test tells no answer": _silent,
    "any reply is survived": _hard,
    "instances share nothing": _apart,
    "speed": _speed,
}
"""Every check by its title, in the order in which they are asked."""
