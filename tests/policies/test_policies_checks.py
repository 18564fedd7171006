"""The checks of `harness model check` find what a backend does wrong, and pass what keeps to it."""

import json
import random
import subprocess
import sys
from collections import deque
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.policies import known_models, open_policy, registry
from harness.policies.checks import CHECKS, check
from harness.policies.checks.agreement import check_agrees
from harness.policies.checks.probe import PolicyTrial
from harness.policies.registry import BUILT_IN, PolicyBackend, scheme_of
from harness.policies.scripted import ScriptedPolicy
from harness.runs.starters.babble import BACKEND, Babble
from harness.settings.model import ModelSettings
from harness.types import Completion, Finish, Tokens


def failed(monkeypatch: pytest.MonkeyPatch, backend: PolicyBackend) -> dict[str, str]:
    """What the checks find wrong with a backend of the scheme `mine`."""
    monkeypatch.setattr(registry, "installed", lambda: {"mine": Announced(backend)})
    return {c.name: c.found for c in check("mine:x") if c.status == "failed"}


class Announced:
    """An entry point that needs no package."""

    def __init__(self, backend: object) -> None:
        self.backend = backend

    def load(self) -> object:
        return self.backend


def of(kind: type[Babble]) -> PolicyBackend:
    return replace(BACKEND, open=kind)


def test_a_backend_that_keeps_its_promises_passes_all(monkeypatch):
    assert failed(monkeypatch, BACKEND) == {}


@pytest.mark.slow
def test_the_embedded_model_keeps_its_promises():
    found = {c.name: c.status for c in check("pocket", ModelSettings(threads=1))}
    assert list(found) == list(CHECKS)
    assert {name for name, status in found.items() if status != "passed"} == {"closes"}


class Repeating(Babble):
    def generate(self, waiting):
        for answered in super().generate(waiting):
            yield answered
            yield answered


class Silent(Babble):
    def generate(self, waiting):
        return ((id, c) for id, c in super().generate(waiting) if id != "check/3")


class Deaf(Babble):
    def generate(self, waiting):
        return super().generate(deque(waiting))


class Changing(Babble):
    noise = random.Random(0)

    def _complete(self, request, table):
        return super()._complete(replace(request, seed=self.noise.getrandbits(32)), table)


class Certain(Babble):
    def _complete(self, request, table):
        said = super()._complete(request, table)
        tokens = Tokens(said.tokens.prompt, said.tokens.sampled, said.tokens.logprobs[1:])
        return replace(said, tokens=tokens)


class Boundless(Babble):
    def _complete(self, request, table):
        said = super()._complete(request, table)
        if said.sampled:
            return said
        return Completion("7", Finish.STOP, 1, Tokens(said.tokens.prompt, (55,), (-1.0,)))


class Stubborn(Babble):
    def update(self, samples, loss, step):
        before = self.table.detach().clone()
        metrics = super().update(samples, loss, step)
        self.table.data.copy_(before)
        return metrics


class Forgetful(Babble):
    def load(self, folder):
        table = self.table.detach().clone()
        super().load(folder)
        self.table.data.copy_(table)


class Drifting(Babble):
    def update(self, samples, loss, step):
        metrics = super().update(samples, loss, step)
        self.start[:, 50] += 20
        return metrics


@pytest.mark.parametrize(
    ("kind", "name", "found"),
    [
        (Repeating, "answers every request", "'check/0' twice"),
        (Silent, "answers every request", "'check/3' has no completion"),
        (Deaf, "takes appended requests", "'check/2' has no completion"),
        (Changing, "repeats with equal seeds", "temperature 1"),
        (Certain, "reports its tokens", "log-probabilities"),
        (Boundless, "respects its context", "beyond its context of 2048"),
        (Stubborn, "trains", "no more likely"),
        (Drifting, "trains", "reference changed"),
        (Forgetful, "saves and loads", "other completions"),
    ],
)
def test_a_broken_promise_is_found(kind, name, found, monkeypatch):
    wrong = failed(monkeypatch, of(kind))
    assert name in wrong
    assert found in wrong[name]


def test_a_completion_beyond_its_limit_is_found(monkeypatch):
    class Long(ScriptedPolicy):
        def _answer(self, request):
            return replace(super()._answer(request), sampled=request.sampling.max_tokens + 1)

    backend = PolicyBackend(lambda url, settings: Long(lambda r: "a b c d e f", url), "too long")
    wrong = failed(monkeypatch, backend)
    assert wrong == {"keeps the token limit": "It sampled 2 tokens where 1 were allowed."}


def test_a_backend_that_says_too_much_is_found(monkeypatch):
    backend = PolicyBackend(lambda url, settings: ScriptedPolicy(str, url), "x", trainable=True)
    wrong = failed(monkeypatch, backend)
    assert list(wrong) == ["has the required members"]
    assert "trainable=True" in wrong["has the required members"]


def test_another_packages_scheme_opens_and_is_listed(monkeypatch):
    monkeypatch.setattr(registry, "installed", lambda: {"mine": Announced(BACKEND)})
    monkeypatch.setattr("harness.policies.installed", lambda: {"mine": Announced(BACKEND)})
    assert open_policy("mine:anything").name == "mine:anything"
    assert known_models()["mine:…"] == BACKEND.about


def test_built_in_schemes_cannot_be_taken_over(monkeypatch):
    points = [EntryPoint(name, "nowhere:BACKEND", registry.GROUP) for name in ("hf", "pocket", "m")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert list(registry.installed()) == ["m"]
    assert scheme_of("hf:ORG/NAME") == "hf"
    assert open_policy("scripted:echo").version == 0


def test_what_is_no_backend_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(registry, "installed", lambda: {"mine": Announced(3)})
    with pytest.raises(UsageError, match=r"'mine' is int, but should be.*PolicyBackend"):
        open_policy("mine:x")


def test_a_backend_that_cannot_be_imported_is_a_line_of_the_list(monkeypatch):
    point = EntryPoint("mine", "no_such_module_here:BACKEND", registry.GROUP)
    monkeypatch.setattr(registry, "installed", lambda: {"mine": point})
    monkeypatch.setattr("harness.policies.installed", lambda: {"mine": point})
    assert known_models()["mine:…"].startswith("cannot be imported: ModuleNotFoundError")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("no_such_module:BACKEND", "no module 'no_such_module'"),
        ("random:BACKEND", "'random' has no BACKEND"),
        ("random:ELSE", "no model 'random:ELSE'"),
    ],
)
def test_a_module_without_a_backend_is_refused(url, said):
    with pytest.raises(UsageError, match=said):
        open_policy(url)


def test_a_new_model_is_written_checked_tested_and_trained(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["model", "new", "own_babble"]) == 0
    assert "harness model check own_babble:BACKEND" in capsys.readouterr().out
    assert main(["model", "check", "own_babble:BACKEND", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] and [c["check"] for c in told["checks"]] == list(CHECKS)
    words = ["run", "--env", "arithmetic", "--model", "own_babble:BACKEND", "--method", "rl"]
    words += ["--episodes", "16", "--test-tasks", "2", "--samples", "1", "--run-dir", "out"]
    assert main([*words, "--set", "budget.tasks=2", "--set", "budget.samples=4", "--json"]) == 0
    entry = json.loads((tmp_path / "out" / "entry.json").read_text())
    assert entry["track"]["model"] == "own_babble:BACKEND"
    assert entry["track"]["mode"] == "deterministic"
    sys.modules.pop("own_babble", None)


def test_a_check_of_a_model_takes_settings_of_models_only(capsys):
    assert main(["model", "check", "scripted:echo", "--set", "budget.tasks=2"]) == 2
    assert "--set model.KEY=VALUE only" in capsys.readouterr().err


@pytest.mark.slow
def test_the_written_test_passes(tmp_path: Path):
    program = "from harness.cli.main import main; main(['model', 'new', 'own_other'])"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    command = [sys.executable, "-m", "pytest", "-q", "test_own_other.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("part", ["sampler", "trainer"])
def test_a_model_that_differs_from_transformers_is_found(tiny_policy, monkeypatch, tmp_path, part):
    if part == "sampler":
        # Answers of a higher temperature, recorded as if they were of the one requested.
        generate = tiny_policy.generate

        def hotter(waiting):
            asked = [replace(r, sampling=replace(r.sampling, temperature=2.0)) for r in waiting]
            waiting.clear()
            return generate(deque(asked))

        monkeypatch.setattr(tiny_policy, "generate", hotter)
    else:
        logprobs = tiny_policy.logprobs
        monkeypatch.setattr(
            tiny_policy, "logprobs", lambda s: [tuple(x - 0.1 for x in r) for r in logprobs(s)]
        )
    trial = PolicyTrial("hf:tiny", BUILT_IN["hf"], tiny_policy, tmp_path)
    status, found = check_agrees(trial)
    assert status == "failed"
    assert f"The {part} differs from plain transformers" in found
