"""The script for a GPU machine: its code path on a CPU with a tiny shape, and its rows there."""

import json

import pytest
import torch

from benchmarks import gpu
from harness.policies.memory_plan import ModelSizes


def test_every_step_is_measured_once_and_found_again(tmp_path, capsys, monkeypatch):
    gpu.main(["--tiny", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    names = ["limits", "sample-128", "update-128", "sample-256", "update-256"]
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in names}
    assert all(one["tokens_a_second"] > 0 for name, one in found.items() if name != "limits")
    assert "sample-256: " in said and "of the bandwidth limit" in said
    assert "of the arithmetic limit" in said
    times = {name: (tmp_path / f"{name}.json").stat().st_mtime_ns for name in names}
    (tmp_path / "update-256.json").unlink()
    monkeypatch.setattr(gpu, "sample", None)  # a step that is done is not taken again
    gpu.main(["--tiny", "--out", str(tmp_path)])
    assert (tmp_path / "update-256.json").exists()
    assert all((tmp_path / f"{n}.json").stat().st_mtime_ns == times[n] for n in names[:-1])


def test_no_step_begins_after_the_time_is_over(tmp_path, capsys):
    gpu.main(["--tiny", "--out", str(tmp_path), "--minutes", "-1"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="not run: a GPU is here")
def test_without_a_gpu_every_row_says_so(tmp_path, capsys):
    gpu.main(["--out", str(tmp_path / "none")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(line.endswith(": not run: no GPU") for line in lines)
    assert not (tmp_path / "none").exists()


def test_the_shape_is_that_of_the_real_model():
    sizes = ModelSizes.of_config({"model_type": "qwen3", **gpu.QWEN3_4B})
    assert sizes is not None and sizes.parameters == 4_022_468_096
