"""Test of SkyRL's server on CPUs from an empty environment: install, train, kill, compare.

    python benchmarks/skyrl_from_nothing.py                   installs into a temporary folder
    python benchmarks/skyrl_from_nothing.py --home FOLDER     keeps it, and uses it again
    python benchmarks/skyrl_from_nothing.py --beside          the client beside this environment

One environment holds SkyRL 0.4.0 with its JAX backend (Python 3.12, about 6 GB), another this
project with the SDK that it brings. The server is started on loopback with a random Llama of two
layers. Then `harness run --method base,rl,espl --model tinker:…`; espl again, killed with SIGKILL
in the middle of a round and resumed; espl again, whose server is killed and started again; the
same step here and there. Prints a table; exit code 1 where a check fails. It ends what it started.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
SERVER = ("skyrl[jax,tinker]==0.4.0", "aiohttp", "uv")  # its extra leaves aiohttp out
SDK = "tinker==0.25.0"
MODEL = "tiny/llama"
# One shape for each length, so that little is compiled.
BACKEND = {"sample_max_num_sequences": 8, "train_micro_batch_size": 4} | {
    "max_lora_adapters": 8,
    "max_lora_rank": 8,
}
WORLD = '''
import gymnasium
from envs import Problem, TextEnv, Verdict


class Parity(TextEnv):
    """A reply whose characters add up to an even number is right: so even noise sometimes is."""

    name = "parity"
    system_prompt = "Say something."
    reply_tokens = 6

    def size(self, split):
        return 20

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"number {index} of {split}", "even")

    def judge(self, reply, answer):
        right = reply and sum(map(ord, reply)) % 2 == 0
        return Verdict.right() if right else Verdict.wrong()


gymnasium.register("Mine/Served-v0", entry_point="served_parity:Parity")
'''
SETTINGS = (
    *("model.lora_rank=4", "budget.tasks=3", "budget.prompts=2", "budget.samples=2"),
    *("sampling.max_tokens=6", "model.timeout=240", "model.patience=15", "model.concurrency=8"),
    "reflection.model=scripted:constant=ADD: look twice",
)
_MAIN = "import sys; from harness.cli import main; sys.exit(main())"


class Missing(Exception):
    """This machine lacks what is needed; the message says what."""


def say(line: str) -> None:
    print(f"-- {line}", flush=True)


def python_312() -> str:
    """A Python that SkyRL 0.4.0 runs on."""
    found = [sys.executable, shutil.which("python3.12"), shutil.which("python3.13")]
    found += [str(p) for p in sorted(Path.home().glob(".pyenv/versions/3.1[23]*/bin/python"))]
    for python in (p for p in found if p):
        code = "import sys; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 14))"
        if subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0:
            return python
    raise Missing("SkyRL 0.4.0 needs Python 3.12, and none is found here")


def make_server(venv: Path, pip_args: list[str]) -> None:
    """An environment with SkyRL's server."""
    if (venv / "ready").exists():
        return
    say(f"making {venv}")
    subprocess.run([python_312(), "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", *pip_args]
    subprocess.run([*pip, "uv"], check=True)
    uv = [str(venv / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(venv)]
    subprocess.run([*uv, *SERVER], check=True)
    (venv / "ready").touch()


def make_client(venv: Path, pip_args: list[str], beside: bool) -> None:
    """An environment with this project and the SDK that SkyRL's release brings."""
    if (venv / "ready").exists():
        return
    say(f"making {venv}")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", *pip_args]
    if beside:
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        here = [p for p in sys.path if p.endswith("site-packages")]
        (Path(told.stdout.strip()) / "beside.pth").write_text("\n".join(here) + "\n")
        subprocess.run([*pip, SDK], check=True)
    else:
        constraints = ["-c", str(HOME / "constraints.txt")]
        subprocess.run([*pip, *constraints, "-e", f"{HOME}[skyrl]"], check=True)
    (venv / "ready").touch()


@dataclass
class Server:
    """SkyRL's server on a port of its own, which can be killed and started again."""

    home: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = self.home / "server.log"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> float:
        """Start it and wait until it samples; the seconds that took."""
        venv, began = self.home / "server", time.monotonic()
        words = ["uv", "run", "--no-project", "--active", "-m", "skyrl.tinker.api"]
        words += ["--base-model", MODEL, "--backend", "jax", "--host", "127.0.0.1"]
        words += ["--port", str(self.port), "--checkpoints-base", str(self.home / "states")]
        words += ["--database-url", f"sqlite:///{self.home}/states.db"]
        words += ["--backend-config", json.dumps(BACKEND)]
        env = {**os.environ, "VIRTUAL_ENV": str(venv), "PATH": f"{venv}/bin:{os.environ['PATH']}"}
        env.pop("PYTHONPATH", None)
        # What was compiled before it was killed need not be compiled again.
        env |= {"JAX_COMPILATION_CACHE_DIR": str(self.home / "compiled")}
        env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, cwd=self.home, env=env, stdout=log, stderr=log, start_new_session=True
            )
        while time.monotonic() - began < 600:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended: {self.log.read_text()[-2000:]}")
            with suppress(OSError):
                urllib.request.urlopen(f"{self.address}/api/v1/healthz", timeout=2).close()
                if "Starting background engine" in self.log.read_text():
                    return time.monotonic() - began
            time.sleep(0.3)
        raise SystemExit(f"the server did not start: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL to everything of it."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.log.write_text("")
        self.process = None


@dataclass
class Place:
    """The client's folder, its server and its deadline."""

    home: Path
    server: Server
    until: float

    def env(self) -> dict[str, str]:
        paths = [str(HOME), str(self.home)]
        return {
            **os.environ,
            "TINKER_BASE_URL": self.server.address,
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        python = str(self.home / "client" / "bin" / "python")
        return subprocess.Popen(
            [python, "-c", _MAIN, *words],
            cwd=self.home,
            env=self.env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Exit code, output and errors of a process, which is killed when time is over."""
        try:
            out, err = process.communicate(timeout=max(1.0, self.until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += "\nit took too long"
        return process.returncode, out, err

    def run_words(self, method: str, folder: str, episodes: int) -> list[str]:
        words = ["run", "--env", "served_parity:Mine/Served-v0", "--model", f"tinker:{MODEL}"]
        words += ["--method", method, "--preset", "laptop", "--episodes", str(episodes)]
        words += ["--test-tasks", "6", "--samples", "2", "--run-dir", folder, "--json", "--quiet"]
        return [*words, *(w for s in SETTINGS for w in ("--set", s))]


@contextmanager
def serving(home: Path, seconds: float) -> Iterator[Place]:
    """A server that is there until the end, and no longer."""
    server = Server(home)
    try:
        say(f"the server took {server.start():.0f} s to start")
        yield Place(home, server, time.monotonic() + seconds)
    finally:
        server.kill()


def prepare(home: Path, pip_args: list[str], beside: bool) -> None:
    """Both environments, the environment of the tasks, and the model."""
    began = time.monotonic()
    make_server(home / "server", pip_args)
    make_client(home / "client", pip_args, beside)
    (home / "served_parity.py").write_text(WORLD)
    code = (
        "from pathlib import Path; from benchmarks.tiny import tiny_model; tiny_model(Path({!r}))"
    )
    if not (home / MODEL / "config.json").exists():
        subprocess.run(
            [str(home / "client" / "bin" / "python"), "-c", code.format(str(home / MODEL))],
            cwd=HOME,
            env={**os.environ, "PYTHONPATH": str(HOME)},
            check=True,
        )
    say(f"ready in {time.monotonic() - began:.0f} s")


def main() -> int:
    from benchmarks.skyrl_checks import check_all

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--home", type=Path, help="a folder to work in, kept and used again")
    parser.add_argument("--pip-args", default="", help="passed to pip install")
    parser.add_argument("--beside", action="store_true", help="the client shares this environment")
    parser.add_argument("--episodes", type=int, default=36, help="of each run that is broken off")
    parser.add_argument("--seconds", type=float, default=1500, help="after which it is given up")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="skyrl-from-nothing-") as scratch:
        home = (asked.home or Path(scratch)).resolve()
        home.mkdir(parents=True, exist_ok=True)
        try:
            prepare(home, shlex.split(asked.pip_args), asked.beside)
        except Missing as why:
            say(f"not run: {why}")
            return 1
        with serving(home, asked.seconds) as place:
            figures, failures = check_all(place, asked.episodes)
    for name, figure in figures.items():
        print(f"{name:56} {figure}")
    for line in failures:
        say(f"FAILED: {line}")
    say("all checks passed" if not failures else f"{len(failures)} checks failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.path.insert(0, str(HOME))
    sys.exit(main())
