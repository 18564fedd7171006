"""Check that another process, with another order of sets, gets the same tasks and fingerprint."""

import json
import os
import subprocess
import sys
from pathlib import Path

from envs.checks.env_probe import EnvProbe, Status, env_identity
from envs.text_env import SPLITS

_SECONDS = 120.0
_CODE = """
import json, sys
job = json.load(sys.stdin)
sys.path[:] = job["path"]
from envs.checks.env_probe import EnvProbe, env_identity
print(json.dumps(env_identity(EnvProbe(job["name"], job["options"]))))
"""


def same_in_every_process(subject: EnvProbe) -> tuple[Status, str]:
    """Compare this process with another one."""
    here = env_identity(subject)
    # Our own folder first: the working directory may hold another folder called envs.
    path = [str(Path(__file__).resolve().parents[2]), *sys.path]
    job = {"path": path, "name": subject.name, "options": dict(subject.options)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CODE],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env={**os.environ, "PYTHONHASHSEED": "4711"},
        )
    except subprocess.TimeoutExpired:
        return "not asked", f"Left out: another process had no tasks after {_SECONDS:g} s."
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return "failed", f"It could not be made in another process: {last[:300]}"
    there = json.loads(done.stdout.strip().splitlines()[-1])
    for what, mine, theirs in zip(("fingerprint", *SPLITS), here, there, strict=True):
        if mine != theirs:
            part = "its fingerprint" if what == "fingerprint" else f"the tasks of {what}"
            return "failed", f"Another process gets {part} otherwise; is a set or hash() used?"
    return "passed", "Another process, with another hash seed, gets the same tasks and fingerprint."
