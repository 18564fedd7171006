"""Checks of the rules that every score of an environment depends on.

A check passes, fails, or is not asked (an environment of another package may have no oracle). The
checks play the environment; they never judge its tasks.
"""

import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gymnasium.utils.env_checker import check_env

from envs.checks.declared_values import values_as_declared
from envs.checks.env_probe import (
    MAX_TURNS,
    PLAYED_TASKS,
    CheckTime,
    EnvProbe,
    OutOfTime,
    ReplyFunction,
    Status,
    constant_reply,
)
from envs.checks.other_process import same_in_every_process
from envs.errors import EnvHangs
from envs.guarded_calls import limited_to
from envs.text_env import SPLITS, Split

CHECK_SECONDS = 20.0
"""Seconds for one check; what does not fit is left out, and said so."""
CALL_SECONDS = 20.0
"""Seconds for one call of an environment of other people."""
_SECONDS = 10.0  # for one reply, however long
_SPEED_SECONDS = 1.0
_REFERENCE_SECONDS = 10.0  # for the references of one split, after the first
_TOLD = 20  # test tasks whose feedback is read
CRUMBS = 0.05
"""The reward that any answer may earn: some packages give a little for anything."""
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
    """The name of a check, its status, and a sentence on what was found."""

    name: str
    status: Status
    said: str


def _oracle(env: Any) -> str:
    return str(env.oracle())


def check(name: str, options: Mapping[str, Any] | None = None) -> Iterator[CheckResult]:
    """Every check in order; an environment that cannot be made raises its own error.

    A check in which the environment raises has failed, with what was raised. After a call that
    did not return, the rest is left out: it would wait for the same call.
    """
    subject, hung = EnvProbe(name, dict(options or {})), ""
    subject.make().close()
    for title, ask in CHECKS.items():
        if hung:
            yield CheckResult(title, "not asked", f"Left out, because {hung}.")
            continue
        subject.deadline = CheckTime(CHECK_SECONDS)
        status: Status = "failed"
        try:
            with limited_to(CALL_SECONDS):
                status, said = ask(subject)
        except EnvHangs as error:
            hung = str(error)
            said = f"It hangs: {error}."
        except OutOfTime as error:
            status, said = "not asked", f"Left out: {error} within {CHECK_SECONDS:g} s."
        except Exception as error:  # whatever somebody's environment raises is what we came to find
            said = f"It raised {type(error).__name__}: {str(error)[:300]}"
        finally:
            subject.close()
        if subject.deadline.left_out:
            said += f" Left out for lack of time: {', '.join(subject.deadline.left_out)}."
        yield CheckResult(title, status, said)


def _gymnasium(subject: EnvProbe) -> tuple[Status, str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for split in SPLITS:
            check_env(subject.make(split), skip_render_check=True)
            subject.close()
    notes = sorted({str(w.message).splitlines()[0] for w in caught if w.category is UserWarning})
    if notes:
        return "failed", f"Gymnasium's checker warns: {notes[0][:200]}"
    return "passed", "Gymnasium's own checker has nothing to say."


def _one_at_a_time(env: Any) -> bool:
    """True for an environment that may have one episode open, such as a server's only session."""
    return bool(getattr(env, "most_open", 0) == 1)


def _repeatable(subject: EnvProbe) -> tuple[Status, str]:
    for split in SPLITS:
        one, two = subject.make(split), subject.make(split)
        for seed in subject.tasks(split, PLAYED_TASKS):
            first = one.reset(seed=seed)
            if _one_at_a_time(one):
                one.close()
            other = two.reset(seed=seed)
            if _one_at_a_time(two):
                two.close()
            again = one.reset(seed=seed)
            if not (first[0] == other[0] == again[0]):
                return "failed", f"Task {seed} of {split} has another text the second time."
            if not (first[1].get("task") == other[1].get("task") == again[1].get("task")):
                return "failed", f"Task {seed} of {split} has another id the second time."
        one.close()
        two.close()
    return (
        "passed",
        f"The first {PLAYED_TASKS} seeds of each split give the same task again and again.",
    )


def _disjoint(subject: EnvProbe) -> tuple[Status, str]:
    first = {split: subject.first_observations(split) for split in SPLITS}
    earlier: Mapping[Split, tuple[Split, ...]] = {
        "validation": ("train",),
        "test": ("train", "validation"),
    }
    for split, others in earlier.items():
        for other in others:
            ids = {o.task for o in first[split]} & {o.task for o in first[other]}
            if ids:
                return "failed", f"Task '{min(ids)[:80]}' is in {other} and in {split}."
    trained = [*first["train"], *first["validation"]]
    pairs, texts = {(o.text, o.answer) for o in trained}, {o.text for o in trained}
    tested = first["test"]
    asked = sum((o.text, o.answer) in pairs for o in tested if o.answer is not None)
    seen = sum(o.text in texts for o in tested)
    # Where files that no text shows are part of a task, its id alone tells tasks apart.
    if asked and not getattr(subject.make(), "hides_state", False):
        return "failed", f"{asked} of {len(tested)} test tasks are asked in training too."
    looked = ", ".join(f"{len(found)} of {split}" for split, found in first.items())
    if seen and any(o.answer is None for o in tested):
        return "not asked", (
            f"{seen} of {len(tested)} test tasks open with a text that training has too: only their"
            " seeds differ, so say so beside any score."
        )
    hidden = f"; {seen} tests open like training, but hide something else" if seen else ""
    return "passed", f"No task is in two splits (looked at {looked}{hidden})."


def _oracle_earns_one(subject: EnvProbe) -> tuple[Status, str]:
    if not callable(getattr(subject.make(), "oracle", None)):
        return "not asked", "It has no oracle(), so nobody knows a right reply."
    for split in SPLITS:
        env = subject.make(split)
        for seed in subject.tasks(split, PLAYED_TASKS):
            played = subject.play(env, seed, _oracle)
            good = played.over and bool(played.info.get("success"))
            if not good or abs(played.reward - 1) > 1e-9:
                return "failed", (
                    f"The oracle earns {played.reward:g} on task {seed} of {split}, success"
                    f" {bool(played.info.get('success'))}; it should be 1 and True."
                )
        env.close()
    return "passed", f"The oracle earns 1 on the first {PLAYED_TASKS} tasks of each split."


def _references(subject: EnvProbe) -> tuple[Status, str]:
    known = all(callable(getattr(subject.make(), n, None)) for n in ("renderings", "problem"))
    if not known and not callable(getattr(subject.make(), "oracle", None)):
        return "not asked", "It has no oracle() and no renderings(), so nobody knows right replies."
    references, ways = 0, 0
    for split in SPLITS:
        env, end = subject.make(split), time.monotonic() + _REFERENCE_SECONDS
        for index in range(env.size(split)):
            for reply, verdict in (
                _rendering_verdicts(env, split, index)
                if known
                else _oracle_verdict(subject, env, index)
            ):
                ways += 1
                if not verdict:
                    return "failed", f"On {split} task {index} the right {reply!r} is not right."
            references += 1
            if time.monotonic() > end or subject.deadline.passed():
                break
        env.close()
    total = sum(subject.make().size(split) for split in SPLITS)
    return "passed", f"{references} of {total} reference answers are right, said in {ways} ways."


def _rendering_verdicts(env: Any, split: Split, index: int) -> Iterator[tuple[str, bool]]:
    """Replies that say a task's reference answer in different ways, and whether each is right."""
    answer = env.problem(split, index).answer
    for reply in env.renderings(answer):
        yield reply[:120], env.judge(reply, answer).success


def _oracle_verdict(subject: EnvProbe, env: Any, index: int) -> Iterator[tuple[str, bool]]:
    yield "reply of the oracle", bool(subject.play(env, index, _oracle).info.get("success"))


def _nonsense(subject: EnvProbe) -> tuple[Status, str]:
    most = 0.0
    for split in SPLITS:
        env = subject.make(split)
        for seed, text in enumerate(NONSENSE):
            played = subject.play(env, seed, constant_reply(text))
            if not played.over:
                return "failed", f"{text!r} goes on for {MAX_TURNS} turns; end the episode."
            if played.info.get("outcome") != "scored" or played.info.get("success"):
                return "failed", f"{text!r} is {played.info.get('outcome')!r}, not scored as wrong."
            most = max(most, played.reward)
            if played.reward > CRUMBS:
                return "failed", f"{text!r} earns {played.reward:g} on task {seed} of {split}."
        env.close()
    earned = f"at most {most:g}" if most > 0 else "nothing"
    return "passed", f"{len(NONSENSE)} kinds of nonsense earn {earned}, and are scored."


def _feedback(subject: EnvProbe) -> tuple[Status, str]:
    env = subject.make("train")
    replies = [("nonsense", constant_reply("xyzzy plugh"))]
    if callable(getattr(env, "oracle", None)):
        replies.append(("a right reply", _oracle))
    for what, reply in replies:
        if not str(subject.play(env, 0, reply).info.get("feedback") or "").strip():
            return "failed", f"{what[:1].upper()}{what[1:]} gets no feedback on the training split."
    return "passed", f"A teacher has something to say to {' and to '.join(w for w, _ in replies)}."


def _test_tells_nothing(subject: EnvProbe) -> tuple[Status, str]:
    env = subject.make("test")
    for seed in subject.tasks("test", _TOLD):
        answer = str(env.problem("test", seed).answer) if hasattr(env, "problem") else ""
        info = env.reset(seed=seed)[1]
        for text in ("xyzzy plugh", "Answer: 123456789"):
            said = subject.play(env, seed, constant_reply(text)).info
            if info.get("answer") or said.get("answer"):
                return "failed", f"info['answer'] of test task {seed} is not empty."
            feedback = str(said.get("feedback") or "")
            leak = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", feedback) if answer else None
            if leak and feedback not in ("Right.", "Wrong."):
                return "failed", f"The feedback to test task {seed} tells its answer."
    env.close()
    return "passed", "Neither info nor feedback of the test split tells an answer."


def _survives_any_reply(subject: EnvProbe) -> tuple[Status, str]:
    env, slowest, which = subject.make("train"), 0.0, ""
    for number, (what, text) in enumerate(HARD_REPLIES.items()):
        if number and subject.deadline.passed():
            subject.deadline.left_out.append(f"{len(HARD_REPLIES) - number} of the replies")
            break
        env.reset(seed=0)
        began = time.monotonic()
        _, reward, _, _, info = env.step(text)
        took = time.monotonic() - began
        if took > slowest:
            slowest, which = took, what
        if took > _SECONDS:
            return "failed", f"A reply of {what} took {took:.1f} s, more than {_SECONDS:g} s."
        if not abs(float(reward)) < float("inf") or info.get("success"):
            return "failed", f"A reply of {what} earns {reward}, success {info.get('success')}."
    env.close()
    return "passed", (
        f"Unicode of every kind and 100 kB of anything are judged (slowest: {which},"
        f" {1000 * slowest:.0f} ms)."
    )


def _no_shared_state(subject: EnvProbe) -> tuple[Status, str]:
    reply: ReplyFunction = constant_reply("Action: 1\nAnswer: 1")
    alone = [subject.play(subject.make(), seed, reply).compared_values for seed in (0, 1)]
    subject.close()
    one, two = subject.make(), subject.make()
    if _one_at_a_time(one):
        return "not asked", "Only one episode may be open at once, so that two were not compared."
    texts = one.reset(seed=0)[0], two.reset(seed=1)[0]
    if [
        subject.finish(one, texts[0], reply).compared_values,
        subject.finish(two, texts[1], reply).compared_values,
    ] != alone:
        return "failed", "Two instances that play at once do not end as each alone: shared state."
    one.reset(seed=1)
    one.step("xyzzy plugh")
    if subject.play(one, 0, reply).compared_values != alone[0]:
        return "failed", "After an abandoned episode the next one is not as it should be."
    one.close()
    two.close()
    return "passed", "Two instances at once, and an abandoned episode, change nothing."


def _speed(subject: EnvProbe) -> tuple[Status, str]:
    env = subject.make()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _SPEED_SECONDS:
        subject.play(env, count % env.size("train"), constant_reply("Action: 1\nAnswer: 1"))
        count += 1
    rate = count / (time.perf_counter() - began)
    env.close()
    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return "passed", f"{shown} episodes a second in one process, judging included."


CHECKS: Mapping[str, Callable[[EnvProbe], tuple[Status, str]]] = {
    "gymnasium": _gymnasium,
    "values are as declared": values_as_declared,
    "same seed, same task": _repeatable,
    "the same in every process": same_in_every_process,
    "splits are disjoint": _disjoint,
    "the oracle earns 1": _oracle_earns_one,
    "references are right": _references,
    "nonsense earns nothing": _nonsense,
    "feedback says something": _feedback,
    "test tells no answer": _test_tells_nothing,
    "any reply is survived": _survives_any_reply,
    "instances share nothing": _no_shared_state,
    "speed": _speed,
}
"""Every check by its title, in the order in which they are asked."""
