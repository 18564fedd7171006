"""A world in which a model that knows nothing differs from itself, and two models as one policy."""

import threading
from pathlib import Path

from harness.durable import lines
from harness.errors import ModelError
from harness.policies.carried import load_from, saved_for_sampling
from harness.policies.hf import HFPolicy
from harness.policies.weights import Source

ODD = "odd_world:Mine/Odd-v0"
WORLD = '''
import time

import gymnasium
from envs import Problem, Verdict, World


class Odd(World):
    """A reply of an odd number of characters is right; judging takes a moment."""

    name = "odd"
    briefing = "Say something."
    reply_tokens = 10

    def size(self, split):
        return 24

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"{index % 3}", "1")

    def judge(self, reply, answer):
        time.sleep(0.01)
        return Verdict.right() if len(reply) % 2 else Verdict.wrong()


gymnasium.register("Mine/Odd-v0", entry_point="odd_world:Odd")
'''
SETTINGS = ("model.threads=1", "model.batch_rows=16", "model.lora_rank=4", "budget.tasks=3")
SETTINGS += ("budget.prompts=2", "budget.samples=2", "method.learning_rate=0.01")
SETTINGS += ("reflection.model=scripted:constant=ADD: look twice", "sampling.max_tokens=10")
ROUND = 12  # episodes


class TwoModels:
    """A sampler and a learner, each with a model of its own.

    The step to version v ends only after `until[v]`, or when the sampler is asked again if there is
    `"asked"`, so that it is seen to be under way; `breaks` is the step that fails.
    """

    def __init__(self, url, settings, until=None, breaks=0):
        source = Source(Path(url.removeprefix("hf:")))
        self.learner, self.sampler = (HFPolicy(url, source, settings) for _ in range(2))
        self.name, self.settings = url, self.learner.settings
        self.notes, self.identity = self.learner.notes, self.learner.identity
        self.context, self.failures = self.learner.context, self.sampler.failures
        self.until, self.breaks = until or {}, breaks
        self.asked, self.overlapped, self.by = threading.Event(), [], []

    @property
    def version(self):
        return self.learner.version

    @property
    def reference(self):
        return self.sampler.reference

    def generate(self, waiting):
        self.asked.set()
        self.by.append((waiting[0].purpose, self.sampler.version))
        return self.sampler.generate(waiting)

    def step(self, samples, loss, step):
        version = self.version + 1
        if version == self.breaks:
            raise ModelError("the learner was lost")
        if version in self.until:
            event = self.asked if self.until[version] == "asked" else self.until[version]
            self.overlapped.append(event.wait(30))
        return self.learner.update(samples, loss, step)

    update = step

    def weights(self):
        return saved_for_sampling(self.learner)

    def serve(self, version, weights):
        load_from(self.sampler, weights)
        assert self.sampler.version == version

    def save(self, folder):
        self.learner.save(folder)

    def load(self, folder):
        self.learner.load(folder)


def write_world(folder):
    """Write it into a folder that workers import from."""
    (folder / "odd_world.py").write_text(WORLD)


def evidence(folder):
    """What a run leaves behind that has no clock in it."""
    names = ("episodes.jsonl", "population.jsonl", "test.jsonl", "champion.json")
    weights = ("checkpoint/policy/adapter.safetensors", "checkpoint/policy/optimizer.safetensors")
    kept = {name: (folder / name).read_bytes() for name in (*names, *weights)}
    return kept | {"rounds": [_timeless(line) for _, line in lines(folder / "rounds.jsonl")]}


def _timeless(line):
    spent = {k: v for k, v in line["spent"].items() if not k.endswith("seconds")}
    return {**line, "spent": spent}
