"""Checks of `skyrl_from_nothing`: interruption of client and server, and parity with `hf:`."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.skyrl_from_nothing import Place

Figures = dict[str, int | float | str]
_HERE = Path(__file__).resolve().parent
_TURNS = ("--env", "guess_number")


class Checks:
    """Figures so far, and one sentence for each thing that went wrong."""

    def __init__(self, place: Place, episodes: int) -> None:
        self.place, self.episodes = place, episodes
        self.figures: Figures = {}
        self.failures: list[str] = []

    def wrong(self, what: str, why: str) -> None:
        self.failures.append(f"{what}: {why}")
        print(f"-- FAILED: {self.failures[-1]}", flush=True)

    def lines(self, folder: str, name: str) -> list[Any]:
        path = self.place.home / folder / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def account(self, what: str, folder: str, told: Any) -> None:
        """See that a finished run counted every episode, token and step once."""
        episodes, rounds = self.lines(folder, "episodes"), self.lines(folder, "rounds")
        keys = {(e["round"], e["task"], e["prompt"], e["sample"]) for e in episodes}
        if not told["episodes"] == len(episodes) == len(keys) == self.episodes:
            self.wrong(
                what, f"{told['episodes']} episodes, {len(episodes)} lines, {len(keys)} keys"
            )
        if told["acting_tokens"] != sum(e["sampled"] for e in episodes):
            self.wrong(what, "the tokens are not those of its episodes")
        if [r["round"] for r in rounds] != list(range(len(rounds))):
            self.wrong(what, f"its rounds are {[r['round'] for r in rounds]}")
        unscored = sum(e.get("status") == "unscored" for e in episodes)
        if unscored:
            self.wrong(what, f"{unscored} episodes are unscored")
        state = json.loads((self.place.home / folder / "checkpoint/policy/policy.json").read_text())
        trained = [r["numbers"] for r in rounds if r["numbers"].get("sequences")]
        if not told["gradient_steps"] == state["version"] == len(trained):
            self.wrong(what, f"version {state['version']}, {len(trained)} rounds with a step")
        gap = max((n["logprob_gap"] for n in trained), default=0.0)
        apart = max((abs(n["loss"] - n["hosted_loss"]) for n in trained), default=0.0)
        if gap > 1e-4 or apart > 1e-4:
            self.wrong(what, f"sampler and trainer are {gap:.1e} apart, the losses {apart:.1e}")
        self.figures[f"{what}: steps, sampler and trainer apart at most"] = (
            f"{len(trained)}, {gap:.1e}"
        )

    def run(self, what: str, words: list[str]) -> Any:
        """Run a command to its end; its JSON, or None where it failed."""
        began = time.monotonic()
        code, out, err = self.place.finish(self.place.start(*words))
        self.figures[f"{what}: seconds"] = round(time.monotonic() - began)
        if code:
            self.wrong(what, f"exit code {code}: {err[-400:]}")
            return None
        return json.loads(out) if "--json" in words else out

    def whole(self) -> None:
        """Three methods without a break, and a method whose episodes have several turns."""
        words = self.place.run_words("base,rl,espl", "whole", self.episodes)
        if told := self.run("base, rl, espl", words):
            for run in told["runs"]:
                if run["method"] != "base":
                    self.account(run["method"], f"whole/{run['method']}-seed0", run)
        at = words.index("--env")
        words[at : at + 2] = [*_TURNS]
        words[words.index("base,rl,espl")] = "rl"
        words[words.index("whole")] = "turns"
        # A reply that is cut off ends its episode, and so short ones seldom end by themselves.
        words[words.index("sampling.max_tokens=6")] = "sampling.max_tokens=64"
        if self.run("rl, several turns", words):
            turns = [len(e["turns"]) for e in self.lines("turns", "episodes")]
            self.figures["rl, several turns: most turns of an episode"] = max(turns)
            if max(turns) < 2:
                self.wrong("rl, several turns", "no episode had a second turn")

    def begun(self, folder: str) -> subprocess.Popen[str] | None:
        """A run in the middle of a round, with a state of its own at the server."""
        process = self.place.start(*self.place.run_words("espl", folder, self.episodes))
        state = self.place.home / folder / "checkpoint/policy/policy.json"
        lines = self.place.home / folder / "episodes.jsonl"
        while process.poll() is None and time.monotonic() < self.place.until:
            if state.exists() and json.loads(state.read_text())["version"] >= 1:
                size = lines.stat().st_size
                while process.poll() is None and lines.stat().st_size == size:
                    time.sleep(0.01)
                return process
            time.sleep(0.01)
        self.wrong(folder, f"it could not be broken off: {self.place.finish(process)[2][-400:]}")
        return None

    def killed_client(self) -> None:
        """A run killed with SIGKILL in the middle of a round, and resumed."""
        if (process := self.begun("client_killed")) is None:
            return
        process.kill()
        process.communicate()
        before = len(self.lines("client_killed", "rounds"))
        if told := self.run(
            "client killed, resumed", ["resume", "client_killed", "--json", "--quiet"]
        ):
            self.figures["client killed, resumed: rounds kept"] = before
            self.account("client killed", "client_killed", told["runs"][0])

    def killed_server(self) -> None:
        """A run whose server is killed with SIGKILL in the middle of a round, and started again."""
        if (process := self.begun("server_killed")) is None:
            return
        self.place.server.kill()
        began = time.monotonic()
        code, _, err = self.place.finish(process)
        self.figures["server killed: the run stopped after seconds"] = round(
            time.monotonic() - began
        )
        lines = [x for x in err.splitlines() if not x.startswith("tinker: ")]
        last = lines[-1] if lines else ""
        self.figures["server killed: exit code"] = code
        if code != 4 or "harness resume" not in last or "Traceback" in err:
            self.wrong("server killed", f"exit code {code}: {err[-600:]}")
        self.place.server.start()
        words = ["resume", "server_killed", "--json", "--quiet"]
        if told := self.run("server killed, resumed", words):
            self.account("server killed", "server_killed", told["runs"][0])

    def inside(self, what: str, *words: str) -> Any:
        """Part of the checks by the client's own Python, `skyrl_parity`; its JSON."""
        python = str(self.place.home / "client" / "bin" / "python")
        done = subprocess.run(
            [python, str(_HERE / "skyrl_parity.py"), *words],
            cwd=self.place.home,
            env=self.place.env(),
            capture_output=True,
            text=True,
            timeout=max(1.0, self.place.until - time.monotonic()),
            check=False,
        )
        if done.returncode:
            self.wrong(what, done.stderr[-600:])
            return None
        return json.loads(done.stdout.splitlines()[-1])

    def parity(self) -> None:
        """The same numbers here and there, and an adapter that peft loads."""
        for name, (figure, most) in (self.inside("parity", "parity") or {}).items():
            self.figures[f"hf: and SkyRL, {name}"] = f"{figure:.1e}"
            if not figure <= most:
                self.wrong("parity", f"{name}: {figure:.1e} is more than {most:.0e}")
        run = "whole/rl-seed0"
        if self.run("export", ["export", run, "--to", "adapter"]):
            apart = self.inside("export", "export", run, "adapter")
            if apart is not None:
                self.figures["exported adapter in peft and SkyRL apart"] = f"{apart:.1e}"
                if not apart < 1e-4:
                    self.wrong("export", f"peft and the server are {apart:.1e} apart")


def check_all(place: Place, episodes: int) -> tuple[Figures, list[str]]:
    """Every check; figures, and what went wrong."""
    checks = Checks(place, episodes)
    steps = (checks.whole, checks.killed_client, checks.killed_server, checks.parity)
    for step in steps:
        began = time.monotonic()
        step()
        name = step.__name__.replace("_", " ")
        print(
            f"-- {name}: {time.monotonic() - began:.0f} s, {len(checks.failures)} failures so far"
        )
    checks.figures["machine"] = f"{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.0f}"
    return checks.figures, checks.failures
