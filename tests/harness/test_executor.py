"""`[executor]`: options of earlier versions, and the GPUs that runs side by side share out."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.runs.subprocess_pool import Job, SubprocessPool
from harness.settings.config import from_tables
from harness.settings.executor import ExecutorSection, check_removed, removed, without_removed
from harness.system.hardware import cores, visible_gpus

OFF: dict[str, Any] = {
    **{"samplers": 0, "sampler_cpus": 1, "sampler_gpus": 0.0, "chunk": 0, "learner": "here"},
    **{"learner_cpus": 1, "learner_gpus": 0.0, "learner_processes": 1, "staleness": 0},
    **{"worlds": 0, "world_cpus": 1, "world_resources": "", "world_seats": 0},
    **{"processes": 2, "shard": False},
}


def test_removed_options_that_are_off_are_read_in_silence():
    kept: dict[str, Any] = {"name": "ray", "gpus": 1.0, "address": "auto"}
    request = from_tables({"executor": {**kept, **OFF}})
    assert request.executor == ExecutorSection(**kept)
    assert not set(request.to_tables()["executor"]) & set(OFF)
    for value in (0, "", False):
        assert from_tables({"executor": dict.fromkeys(OFF, value)}).executor == ExecutorSection()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("samplers", 2, "vllm serve --data-parallel-size N"),
        ("chunk", 8, "vllm serve --data-parallel-size N"),
        ("learner", "actor", "tinker:MODEL"),
        ("learner_processes", 2, "tinker:MODEL"),
        ("name", "accelerate", "tinker:MODEL"),
        ("processes", 8, "tinker:MODEL"),
        ("shard", True, "tinker:MODEL"),
        ("worlds", 4, "DOCKER_HOST"),
        ("world_resources", "sandbox=1", "DOCKER_HOST"),
        ("staleness", 1, "0 is the only value"),
    ],
)
def test_a_removed_option_is_refused_with_what_to_use_instead(key, value, said):
    with pytest.raises(UsageError, match=f"executor.{key}={value} was removed") as told:
        from_tables({"executor": {"name": "ray", **OFF, key: value}})
    assert said in str(told.value)
    assert str(told.value).count(".\n") == 0 and str(told.value).endswith(".")


def test_several_are_named_together_and_each_way_out_once():
    table = {"name": "ray", "samplers": 2, "chunk": 8, "worlds": 1, "jobs": 3}
    assert removed(table) == {"samplers": 2, "chunk": 8, "worlds": 1}
    assert without_removed(table) == {"name": "ray", "jobs": 3}
    with pytest.raises(UsageError, match=r"executor\.worlds=1 were removed") as told:
        check_removed(table)
    with pytest.raises(UsageError, match=r"engine\.samplers=2, engine\.chunk=8"):
        check_removed(table, "engine")
    assert str(told.value).count("vllm serve") == str(told.value).count("DOCKER_HOST") == 1


@pytest.mark.parametrize(
    ("named", "seen"),
    [
        ("0,1,2", ["0", "1", "2"]),
        ("3, 1", ["3", "1"]),
        ("GPU-8932f937-d72c,MIG-1a2b", ["GPU-8932f937-d72c", "MIG-1a2b"]),
        ("2,-1,3", ["2"]),
        ("0,0,1", []),
        ("1, 0 ,1", []),
        ("-1", []),
        ("", []),
        ("none", []),
    ],
)
def test_a_list_of_visible_gpus_is_kept_as_it_is(named, seen, tmp_path):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": named}, tmp_path) == seen


def test_without_a_list_the_devices_are_counted(tmp_path):
    assert visible_gpus({}, tmp_path) == []
    for name in ("nvidia3", "nvidia11", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == ["0", "1"]


def test_gpus_are_counted_without_torch():
    code = (
        "import sys; from harness.runs.executors import visible_gpus; print(visible_gpus()); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "5,6"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines() == ["['5', '6']", "False"]


def side_by_side(folder: Path, gpus: list[str], jobs: int, count: int) -> list[tuple[str, str]]:
    """What each command saw, as (its name, CUDA_VISIBLE_DEVICES), in the order of starting.

    A command ends once as many as can run at once have started, or the last one has.
    """
    code = (
        "import os, pathlib, sys, time\n"
        "here, name, jobs, count = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:])\n"
        "seen = os.environ.get('CUDA_VISIBLE_DEVICES', 'unset')\n"
        "(here / f'{name}.seen').write_text(seen)\n"
        "while len(list(here.glob('*.seen'))) < min(jobs, count): time.sleep(0.02)\n"
    )
    wanted = [
        Job(str(n), (sys.executable, "-c", code, str(folder), *map(str, (n, jobs, count))), log)
        for n in range(count)
        for log in [folder / f"{n}.log"]
    ]
    SubprocessPool(jobs, lambda job, seconds: None, gpus=gpus).work(wanted)
    return [(str(n), (folder / f"{n}.seen").read_text()) for n in range(count)]


def test_runs_side_by_side_have_a_gpu_each(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c")
    found = side_by_side(tmp_path, visible_gpus(), jobs=3, count=3)
    assert found == [("0", "GPU-a"), ("1", "GPU-b"), ("2", "GPU-c")]


def test_more_runs_than_gpus_share_them_evenly(tmp_path):
    found = side_by_side(tmp_path, ["4", "7"], jobs=4, count=4)
    assert [gpu for _, gpu in found] == ["4", "7", "4", "7"]


def test_a_run_takes_the_gpu_of_the_one_that_ended(tmp_path):
    """The second of two ends first, so the third run gets its GPU and not the first's."""
    code = (
        "import os, pathlib, sys, time\n"
        "here, name = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "(here / f'{name}.seen').write_text(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "while name == 'a' and not (here / 'c.seen').exists(): time.sleep(0.02)\n"
    )
    wanted = [
        Job(name, (sys.executable, "-c", code, str(tmp_path), name), tmp_path / f"{name}.log")
        for name in "abc"
    ]
    SubprocessPool(2, lambda job, seconds: None, gpus=["0", "1"]).work(wanted)
    assert [(tmp_path / f"{name}.seen").read_text() for name in "abc"] == ["0", "1", "1"]


@pytest.mark.parametrize("gpus", [[], ["0"]])
def test_where_there_is_no_choice_the_environment_stays(tmp_path, monkeypatch, gpus):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert side_by_side(tmp_path, gpus, jobs=2, count=2) == [("0", "unset"), ("1", "unset")]


def test_cores_are_counted_where_affinity_is_unknown(monkeypatch):
    assert cores() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cores() == os.cpu_count()
