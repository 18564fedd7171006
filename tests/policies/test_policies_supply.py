"""Nothing that a model's folder holds is run; weights are safetensors, and known by their hash."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

from harness.errors import ModelError, UsageError
from harness.policies import model_files, open_policy
from harness.policies.capabilities import identity_of, notes_of
from harness.policies.memory_check import weights_size
from harness.policies.model_files import ModelSource, find_model, packaged_model, weights_hash
from harness.policies.registry import EMBEDDED
from harness.settings.config import from_tables
from harness.settings.model import ModelSettings

POCKET = EMBEDDED["pocket"]().folder


class Trap:
    """Touches a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(POCKET, tmp_path / "model"))


@pytest.mark.parametrize("config", ["config.json", "tokenizer_config.json"])
def test_a_model_that_brings_a_program_is_refused_and_the_program_not_run(tmp_path, config):
    folder, mark = copied(tmp_path), tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    told = json.loads((folder / config).read_text())
    told["auto_map"] = {"AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
    if config == "config.json":
        told["model_type"] = "evil"
    (folder / config).write_text(json.dumps(told))
    with pytest.raises(ModelError, match="programs of models are never run here"):
        open_policy(f"hf:{folder}")
    assert not mark.exists()


def test_a_program_beside_a_model_that_transformers_knows_is_not_run(tmp_path):
    folder, mark = copied(tmp_path), tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    told = json.loads((folder / "config.json").read_text())
    classes = ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer")
    told["auto_map"] = dict.fromkeys(classes, "evil.Evil")
    (folder / "config.json").write_text(json.dumps(told))
    policy = open_policy(f"hf:{folder}", ModelSettings(device="cpu", threads=1))
    assert not mark.exists()
    assert any("auto_map" in note and "own llama is used" in note for note in notes_of(policy))
    assert identity_of(policy)["weights"] == weights_hash(ModelSource(POCKET))


def test_weights_stored_a_second_time_are_neither_weighed_nor_hashed(tmp_path):
    folder = copied(tmp_path)
    shutil.copyfile(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert weights_size(folder) == weights_size(POCKET)
    assert weights_hash(ModelSource(folder)) == weights_hash(ModelSource(POCKET))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \*.safetensors"):
        find_model(str(folder))


def test_there_is_no_setting_that_trusts_programs():
    with pytest.raises(UsageError, match="trust_remote_code"):
        from_tables({"model": {"trust_remote_code": True}})


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl"])
def test_pickled_weights_are_refused_and_never_read(tmp_path, name):
    folder, mark = copied(tmp_path), tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(ModelError, match="safetensors"):
        open_policy(f"hf:{folder}")
    # Something of the right name that is no safetensors does not help either.
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_policy(f"hf:{folder}")
    assert not mark.exists()


def test_embedded_weights_that_are_not_the_cards_are_refused(tmp_path):
    folder = copied(tmp_path)
    assert packaged_model(folder).folder == folder
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match="not those of its card"):
        packaged_model(folder)


def test_a_revision_is_handed_to_the_hub(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def snapshot(name, **options):
        asked.append((name, options["revision"]))
        assert not any(
            pattern.endswith((".bin", ".py", ".pt")) for pattern in options["allow_patterns"]
        )
        return str(POCKET)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(model_files, "_refuse_download", lambda *_: None)  # asks the Hub for sizes
    find_model("org/name@0123abc")
    find_model("org/name")
    assert asked == [("org/name", "0123abc"), ("org/name", None)]
