"""An engine of a run's own, with a stand-in for the module `vllm`: not run on a GPU."""

import json
import os
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from harness.errors import ModelError
from harness.policies.vllm.engine_log import cause_in
from harness.policies.vllm.engine_memory import DeviceMemory, plan_engine
from harness.policies.vllm.local_engine import EngineSettings, LocalVLLMEngine

GB = 1_000_000_000
QWEN3_4B = {
    **{"model_type": "qwen3", "num_hidden_layers": 36, "hidden_size": 2560, "head_dim": 128},
    **{"intermediate_size": 9728, "num_attention_heads": 32, "num_key_value_heads": 8},
    **{"vocab_size": 151_936, "tie_word_embeddings": True, "max_position_embeddings": 40_960},
}
PARAMETERS = 4_022_468_096


@dataclass
class Engine:
    """What an `LLMEngine` of vLLM's was started with, and told."""

    arguments: dict[str, Any]
    told: list[str] = field(default_factory=list)
    model_config: Any = field(default_factory=lambda: SimpleNamespace(max_model_len=2048))
    engine_core: Any = field(default_factory=lambda: SimpleNamespace(shutdown=lambda: None))

    def sleep(self, level: int = 1, mode: str = "abort") -> None:
        self.told.append(f"sleep {level}")

    def wake_up(self, tags: list[str] | None = None) -> None:
        self.told.append("wake")


class Starts:
    """`LLMEngine.from_engine_args`: starts, or fails as vLLM does, with a process of its own."""

    def __init__(self) -> None:
        self.fails_with = ""

    def from_engine_args(self, arguments: dict[str, Any]) -> Engine:
        if not self.fails_with:
            return Engine(arguments)
        lines = "\\n".join(f"(EngineCore pid=7) ERROR frame {i}" for i in range(60))
        last = f"(EngineCore pid=7) ERROR {self.fails_with}"
        code = f"import sys; print('{lines}'); print({last!r}, file=sys.stderr)"
        subprocess.run([sys.executable, "-c", code], check=True)
        os.write(2, b"Exception: WorkerProc failed; see root cause above\n")
        raise RuntimeError("Engine core initialization failed. See root cause above. Failed: {}")


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Starts:
    """The module `vllm` as far as an engine needs it, on a GPU of 80 GB."""
    made = Starts()
    parts: dict[str, dict[str, Any]] = {
        "vllm": {"EngineArgs": lambda **given: given},
        "vllm.platforms": {
            "current_platform": SimpleNamespace(
                device_type="cuda", is_sleep_mode_available=lambda: True
            )
        },
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.llm_engine": {"LLMEngine": made},
    }
    for name, content in parts.items():
        module = ModuleType(name)
        for key, value in content.items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("harness.policies.vllm.local_engine.require_vllm", lambda: "vllm 0.33.0")
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (78 * GB, 80 * GB))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("VLLM_LOGGING_LEVEL", raising=False)
    return made


def model_folder(folder: Path, config: dict[str, Any], parameters: int) -> Path:
    """A folder whose files state these sizes and hold no weights."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps({"w": {"dtype": "BF16", "shape": [parameters], "data_offsets": [0, 0]}})
    data = struct.pack("<Q", len(header)) + header.encode()
    (folder / "model.safetensors").write_bytes(data)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model", QWEN3_4B, PARAMETERS)


def arguments_of(engine: LocalVLLMEngine) -> dict[str, Any]:
    inner: Engine = engine._engine
    return inner.arguments


def test_an_engine_leaves_the_learner_its_share_and_sleeps_through_a_step(
    starts: Starts, folder: Path
) -> None:
    engine = LocalVLLMEngine(folder, EngineSettings("bfloat16", rank=32))
    given = arguments_of(engine)
    assert given["enable_sleep_mode"] is True
    # 78 GB are free; the learner keeps 8 GB of weights and 0.8 GB of adapter and optimizer.
    assert given["gpu_memory_utilization"] == pytest.approx((78 - 8.05 - 0.8 - 2.15) / 80, abs=0.01)
    # 59 GB of keys and values at 147 kB a token: 39 completions of a quarter of the context each.
    assert 34 <= given["max_num_seqs"] <= 44
    memory, started = engine.notes
    assert memory.startswith("Memory: vLLM has 84 % of the GPU's 80 GB")
    assert started.startswith("Engine: vLLM started in ")
    inner = engine._engine
    for _ in range(2):
        engine.sleep()
    for _ in range(2):
        engine.wake()
    assert inner.told == ["sleep 1", "wake"]
    engine.close()


def test_a_number_of_rows_that_was_set_is_kept(starts: Starts, folder: Path) -> None:
    engine = LocalVLLMEngine(folder, EngineSettings("bfloat16", rows=5, context=8192))
    assert (arguments_of(engine)["max_num_seqs"], arguments_of(engine)["max_model_len"]) == (
        *(5, 8192),
    )
    engine.close()


def test_shorter_contexts_and_larger_gpus_hold_more_completions(folder: Path) -> None:
    def planned(context: int, gigabytes: int, sleeps: bool = True) -> tuple[float, int]:
        device = DeviceMemory(gigabytes * GB, gigabytes * GB)
        found = plan_engine(folder, "bfloat16", 32, context, device, sleeps)
        return round(found.share, 2), found.rows

    assert planned(40_960, 24)[1] < planned(8_192, 24)[1] < planned(8_192, 80)[1]
    assert planned(1_024, 140) == (0.92, 256)
    assert planned(8_192, 80, sleeps=False)[0] == 0.5
    with pytest.raises(ModelError, match=r"hold the model twice: 8\.\d GB and 10\.\d GB"):
        planned(8_192, 20)


def test_a_model_of_an_unknown_architecture_is_planned_by_its_files(tmp_path: Path) -> None:
    other = model_folder(tmp_path / "other", {"model_type": "own"}, 1_000_000_000)
    device = DeviceMemory(80 * GB, 80 * GB)
    found = plan_engine(other, "bfloat16", 32, 0, device, sleeps=True)
    assert (found.learner, found.rows) == (2 * GB, 256)


def test_a_failed_start_is_one_sentence_with_the_cause_and_the_log(
    starts: Starts, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    starts.fails_with = "ValueError: No available memory for the cache blocks."
    with pytest.raises(ModelError) as told:
        LocalVLLMEngine(folder, EngineSettings("bfloat16"))
    said = str(told.value)
    assert "cannot serve the model here (ValueError: No available memory" in said
    assert "\n" not in said
    shown = capfd.readouterr()
    assert shown.out == shown.err == ""
    log = Path(said.rpartition("Its log is ")[2].rstrip("."))
    assert log.read_text().count("frame") == 60
    print("still here")  # what this process prints afterwards is its own again
    assert capfd.readouterr().out == "still here\n"


def test_whoever_asks_vllm_for_its_log_sees_it(
    starts: Starts, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    starts.fails_with = "ValueError: no"
    with pytest.raises(ModelError, match="Engine core initialization failed"):
        LocalVLLMEngine(folder, EngineSettings("bfloat16"))
    assert capfd.readouterr().out.count("frame") == 60


def test_the_cause_is_the_last_error_that_points_to_no_other(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert cause_in(log) == ""
    log.write_text("INFO fine\n")
    assert cause_in(log) == ""
    log.write_text(
        "(EngineCore pid=1) torch.OutOfMemoryError: CUDA out of memory.\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    assert cause_in(log) == "torch.OutOfMemoryError: CUDA out of memory."
