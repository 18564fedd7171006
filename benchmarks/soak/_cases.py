"""The runs that are killed: every method, on every backend that this machine has."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak._server import Body, chance

WORLD = '''
import gymnasium
from envs import Problem, Verdict, TextEnv


class Parity(TextEnv):
    """A reply whose characters add up to an even number is right: so even noise sometimes is."""

    name = "parity"
    system_prompt = "Say something."
    reply_tokens = 8

    def size(self, split):
        return 70 if split == "test" else 40

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"number {index} of {split}", "even")

    def judge(self, reply, answer):
        right = reply and sum(map(ord, reply)) % 2 == 0
        return Verdict.right() if right else Verdict.wrong()


gymnasium.register("Mine/Parity-v0", entry_point="parity:Parity")
'''
"""Beside the run directories, as parity.py."""

_ROUNDS = ("budget.tasks=3", "budget.prompts=2", "budget.samples=4", "model.threads=1")
_TINY = ("model.batch_rows=8", "model.lora_rank=4", "sampling.max_tokens=8")
_WORDS = "reflection.model=scripted:constant=ADD: look twice"
_SHARP = "method.learning_rate=0.01"


@dataclass(frozen=True)
class Case:
    """One run: how it is asked for, and whether its log lines come in the order of a clock."""

    name: str
    words: tuple[str, ...]
    settings: tuple[str, ...]
    ordered: bool = True

    def command(self, folder: str) -> list[str]:
        """The command line that runs it into `folder`."""
        sets = [word for s in (*_ROUNDS, *self.settings) for word in ("--set", s)]
        size = ("--episodes", "72", "--test-tasks", "70", "--samples", "1", "--preset", "pocket")
        return ["run", *self.words, *size, *sets, "--run-dir", folder, "--json", "--quiet"]


def replying(body: Body) -> str:
    """The endpoint's completion: a number that the request decides, or an edit if requested."""
    last = body["messages"][-1]["content"]
    number = int(1e6 * chance(body["messages"], body.get("seed")))
    return f"{number}" if last.startswith("number ") else f"ADD: look {number} times"


def cases(model: Path, endpoint: str) -> list[Case]:
    """All of them, engines mixed, so that a short version meets several."""
    parity, pocket = ("--env", "parity:Mine/Parity-v0"), ("--env", "calibration/both")

    def tiny(method: str, *settings: str) -> Case:
        words = (*parity, "--model", f"hf:{model}", "--method", method)
        return Case(f"tiny-{method}", words, (*_TINY, _WORDS, *settings))

    def own(method: str) -> Case:
        words = (*pocket, "--model", "pocket", "--method", method)
        return Case(f"pocket-{method}", words, ())

    def other(name: str, url: str, method: str, ordered: bool) -> Case:
        words = (*parity, "--model", url, "--method", method)
        return Case(f"{name}-{method}", words, ("sampling.max_tokens=8",), ordered)

    return [
        tiny("espl", _SHARP, "method.crossover=0.5"),
        other("endpoint", endpoint, "evolution", False),
        tiny("gepa"),
        tiny("rl", _SHARP),
        own("espl"),
        tiny("fst"),
        other("endpoint", endpoint, "gepa", False),
        tiny("reflection"),
        tiny("inspo", _SHARP),
        own("evolution"),
        other("scripted", "scripted:echo", "evolution", True),
        tiny("p2o", _SHARP),
        own("rl"),
        tiny("evolution", "method.crossover=0.5"),
        other("scripted", "scripted:echo", "base", True),
        own("gepa"),
    ]
