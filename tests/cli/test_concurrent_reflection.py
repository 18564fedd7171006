"""Reflecting goes on beside the step only where another model reflects, and the row says so."""

import json
from pathlib import Path

import pytest

from agents.espl import ESPL
from harness.cli import main

WORDS = (
    *("budget.episodes=8", "budget.tasks=2", "budget.prompts=2", "budget.samples=2"),
    *("evaluation.tasks=2", "evaluation.samples=1", "model.threads=1"),
    *("sampling.max_tokens=6", "reflection.max_tokens=8"),
)


@pytest.mark.parametrize(
    ("reflector", "apart"),
    [
        ("initial", False),
        ("reference", False),
        ("current", False),
        ("scripted:constant=ADD: look twice", True),
    ],
)
def test_only_another_model_reflects_beside_the_gradient_step(
    reflector: str,
    apart: bool,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []
    began = ESPL.__init__

    def noted(self: ESPL, *arguments: object) -> None:
        began(self, *arguments)
        seen.append(self.reflects_concurrently)

    monkeypatch.setattr(ESPL, "__init__", noted)
    place = tmp_path / "out"
    words = ["run", "--env", "arithmetic", "--model", f"hf:{tiny_model}", "--method", "espl"]
    words += ["--run-dir", str(place), "--quiet"]
    for setting in (*WORDS, f"reflection.model={reflector}"):
        words += ["--set", setting]
    assert main(words) == 0
    assert seen == [apart]
    entry = json.loads((place / "entry.json").read_text())
    said = [note for note in entry["notes"] if "beside the gradient step" in note]
    assert bool(said) is apart
