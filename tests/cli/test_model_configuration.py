"""Two folders with the same weights and other configurations are two models."""

import json
import shutil
from pathlib import Path

import pytest

from harness.cli import main
from harness.policies.model_files import ModelSource, configuration_identity
from harness.policies.registry import EMBEDDED

SMALL = ["--method", "base", "--test-tasks", "1", "--samples", "1", "--quiet"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changed(model: Path, folder: Path, file: str, **fields: object) -> Path:
    """A copy of the model with other fields in one of its configuration files."""
    shutil.copytree(model, folder)
    told = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(told | fields))
    return folder


def run(folder: Path, run_dir: str) -> dict[str, object]:
    words = ["run", "--env", "arithmetic", "--model", f"hf:{folder}", "--set", "model.threads=1"]
    words += ["--set", "sampling.max_tokens=4"]
    assert main([*words, *SMALL, "--run-dir", run_dir]) == 0
    entry: dict[str, object] = json.loads(Path(run_dir, "entry.json").read_text())
    return entry


def test_another_rope_or_end_token_is_another_configuration(
    tiny_model: Path, tmp_path: Path
) -> None:
    rope = {"rope_type": "default", "rope_theta": 500.0}
    folders = [
        tiny_model,
        changed(tiny_model, tmp_path / "rope", "config.json", rope_parameters=rope),
        changed(tiny_model, tmp_path / "ends", "generation_config.json", eos_token_id=[2, 7]),
    ]
    found = [configuration_identity(ModelSource(folder)) for folder in folders]
    assert len({one["configuration"] for one in found}) == 3
    written = changed(tiny_model, tmp_path / "v", "config.json", transformers_version="0.0.1")
    assert configuration_identity(ModelSource(written)) == found[0]


def test_the_configuration_is_part_of_the_track(tiny_model: Path, here: Path) -> None:
    other = changed(tiny_model, here / "other", "generation_config.json", eos_token_id=[2, 7])
    first, second = run(tiny_model, "a"), run(other, "b")
    one, two = (x["track"] for x in (first, second))
    assert isinstance(one, dict) and isinstance(two, dict)
    assert one["weights"] == two["weights"]
    assert one["model_configuration"] != two["model_configuration"]


def test_a_run_does_not_go_on_with_another_configuration(
    tiny_model: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copytree(tiny_model, here / "model"))
    run(model, "out")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    (here / "out" / "entry.json").unlink()
    assert main(["resume", "out"]) == 5
    assert "began with other model configuration" in capsys.readouterr().err
    # Runs from before it was recorded are not compared by it.
    identity = json.loads((here / "out" / "identity.json").read_text())
    del identity["model configuration"]
    (here / "out" / "identity.json").write_text(json.dumps(identity))
    assert main(["resume", "out"]) == 0


def test_models_that_come_as_packages_state_none() -> None:
    assert configuration_identity(EMBEDDED["pocket"]()) == {}
