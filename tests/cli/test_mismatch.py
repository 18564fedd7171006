"""The importance correction is on where sampler and trainer differ, and the row says why."""

import pytest

from harness.cli import main
from harness.runs.off_policy import mismatch, mismatch_notes
from harness.runs.resolve import Requested, resolve
from harness.settings.model import ModelSettings
from leaderboards.records.store import read_entry


def resolved(*sets, model="smollm2", method="rl"):
    asked = Requested(env="arithmetic", methods=(method,), model=model, preset="laptop", sets=sets)
    found = resolve(asked, opens=False)
    return found.configs[0], found.notes


@pytest.mark.parametrize(
    ("model", "sets", "correction"),
    [
        ("smollm2", (), "none"),
        ("smollm2", ("model.dtype=float32",), "none"),
        ("smollm2", ("model.dtype=bfloat16",), "token_truncate"),
        ("smollm2", ("model.device=cuda",), "token_truncate"),
        ("smollm2", ("model.device=cuda", "model.dtype=float32"), "none"),
        ("smollm2", ("model.dtype=bfloat16", "method.correction=none"), "none"),
        ("smollm2", ("model.dtype=bfloat16", "method.correction=token_mask"), "token_mask"),
        ("vllm:smollm2", (), "token_truncate"),
    ],
)
def test_the_correction_is_on_where_the_two_differ(model, sets, correction, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    request, notes = resolved(*sets, model=model)
    assert request.method_settings.correction == correction
    by_default = correction != "none" and not any("method.correction" in s for s in sets)
    assert any(n.startswith("correction: token_truncate") for n in notes) is by_default


def test_a_visible_gpu_means_bfloat16(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert "bfloat16" in mismatch("smollm2", ModelSettings())
    assert mismatch("smollm2", ModelSettings(device="cpu")) == ""
    assert mismatch("openai:http://h/v1#m", ModelSettings()) == ""


def test_a_method_with_a_correction_of_its_own_keeps_it(monkeypatch):
    request, _ = resolved("model.dtype=bfloat16", method="p2o")
    assert request.method_settings.correction == "hard_clip"
    assert mismatch_notes(request)[0].endswith("importance correction: hard_clip.")


def test_the_row_says_what_differed_and_what_corrected_it(tiny_model, tmp_path):
    words = ["run", "--env", "arithmetic", "--model", f"hf:{tiny_model}", "--method", "rl"]
    sizes = ["budget.tasks=2", "budget.prompts=1", "budget.samples=2", "sampling.max_tokens=4"]
    sizes += ["evaluation.tasks=2", "evaluation.samples=1", "model.lora_rank=2", "model.threads=1"]
    tracks = []
    for dtype in ("float32", "bfloat16"):
        run = tmp_path / dtype
        sets = [w for s in (*sizes, f"model.dtype={dtype}") for w in ("--set", s)]
        asked = [*words, "--episodes", "4", *sets, "--quiet", "--run-dir", str(run)]
        assert main(asked) == 0
        entry = read_entry(run / "entry.json")
        told = [note for note in entry.notes if "importance correction" in note]
        assert len(told) == (dtype == "bfloat16")
        assert entry.config["correction"] == ("token_truncate" if told else "bypass")
        tracks.append(entry.track)
    assert tracks[0].differs(tracks[1]) == ("engine",)
