"""Memory that really runs out, in the middle of a training step."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from benchmarks.soak._cases import WORLD
from benchmarks.soak.kills import differences
from benchmarks.tiny import tiny_model
from harness.cli.main import main

# From the first time that the phase begins, the process may take no more than it has by then.
TIGHT = """
import os, resource, sys
from harness.callbacks import Callbacks

aim, phase, tight = sys.argv.pop(1), Callbacks.phase, []

def heard(watchers, name, total):
    phase(watchers, name, total)
    if name == aim and not tight:
        tight.append(True)
        pages = int(open("/proc/self/statm").read().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + 4_000_000
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

Callbacks.phase = heard
from harness.cli import main
raise SystemExit(main())
"""
RUN = ["run", "--env", "parity:Mine/Parity-v0", "--preset", "laptop", "--method", "rl", "--quiet"]
RUN += ["--model", "hf:tiny", "--episodes", "48", "--test-tasks", "8", "--samples", "1", "--json"]
for setting in (
    "budget.tasks=3",
    "budget.prompts=2",
    "budget.samples=4",
    "sampling.max_tokens=200",
    "model.batch_rows=24",
    "model.lora_rank=4",
    "model.threads=1",
):
    RUN += ["--set", setting]


@pytest.fixture
def home(tmp_path, monkeypatch):
    tiny_model(tmp_path / "tiny")
    (tmp_path / "parity.py").write_text(WORLD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="not run: limits of memory need Linux")
@pytest.mark.slow
def test_a_run_that_is_out_of_memory_says_so_and_goes_on_when_there_is_some(home, capsys):
    paths = os.pathsep.join([str(home), *sys.path])
    child = subprocess.run(
        [sys.executable, "-c", TIGHT, "training", *RUN, "--run-dir", "run"],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 4, child.stderr[-2000:]
    (said,) = [line for line in child.stderr.splitlines() if line.startswith("harness: ")]
    assert said.startswith("harness: Memory ran out while an update read ")
    (setting,) = re.findall(r"go on with harness resume run --set (model\.\w+=\w+)\.", said)
    assert "Traceback" not in child.stderr
    assert not (home / "run" / "entry.json").exists()
    shutil.copytree(home / "run", home / "changed")
    assert main(["resume", "run", "--quiet", "--json"]) == 0
    assert main([*RUN, "--run-dir", "whole"]) == 0
    assert differences(home / "whole", home / "run", ordered=True) == []
    # With the setting that was named it goes on as well.
    assert main(["resume", "changed", "--set", setting, "--quiet", "--json"]) == 0
    assert setting.replace("=", " = ").split(".")[1] in (home / "changed/config.toml").read_text()
