"""Error rates of graders: ours, math-verify, and the graders of other projects.

    HARNESS_DATA_DIR=… python -m benchmarks.verdicts --python PATH --out runs/verdicts

Three sets: the battery (both kinds), rewritings of the pinned references (all right), pairs of
different references (all wrong). Printed for each grader: wrong replies accepted, right ones
refused, CPU time a verdict (median and 99th percentile). `--python` names an interpreter that has
other projects' graders (pip install math-verify lm-eval[math] verl); without them a row says so.
They may take a hundred times as long: `--most` asks them about so many pairs of each set, drawn by
a seed.
The exit code is 1 where ours misses a target: nothing accepted wrongly, 1 % refused, 5 ms.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.verdicts.pairs import Pair, battery, different, references, rewritings
from benchmarks.verdicts.peers import PEERS
from envs.grading.answer_graders import GRADERS
from envs.grading.boxed_answer import last_boxed, objection
from envs.grading.mathematics.judge import judge
from envs.grading.thoughts import answer_part

MOST_REFUSED = 0.01
MOST_MEDIAN_MS = 5.0


@dataclass
class Tally:
    """One grader's verdicts over one set of pairs."""

    grader: str
    name: str
    accepted: list[Pair] = field(default_factory=list)
    refused: list[Pair] = field(default_factory=list)
    wrong: int = 0
    right: int = 0
    seconds: list[float] = field(default_factory=list)
    missing: str = ""

    def add(self, pair: Pair, right: bool, seconds: float) -> None:
        """Count one verdict."""
        self.right += pair.right
        self.wrong += not pair.right
        self.seconds.append(seconds)
        if right and not pair.right:
            self.accepted.append(pair)
        if pair.right and not right:
            self.refused.append(pair)

    def cells(self) -> list[str]:
        """The row of the table."""
        if self.missing:
            return [self.grader, self.name, f"not installed ({self.missing})", "", "", ""]
        times = sorted(1000 * one for one in self.seconds)
        late = times[int(0.99 * (len(times) - 1))]
        return [
            self.grader, self.name, _share(len(self.accepted), self.wrong),
            _share(len(self.refused), self.right), f"{statistics.median(times):.2f} ms",
            f"{late:.1f} ms",
        ]  # fmt: skip


def _share(count: int, of: int) -> str:
    return f"{count:,} of {of:,} ({100 * count / of:.2f} %)" if of else "–"


def ours(pair: Pair) -> bool:
    """Our verdict, in this process: what a worker says, without the pipe."""
    if pair.grader != "math":
        return GRADERS[pair.grader].judge(pair.reply, pair.reference).success
    box = last_boxed(answer_part(pair.reply))
    if box is None or (box != pair.reference and objection(box, pair.reference)):
        return False
    return judge(box, pair.reference)["right"]


def our_tally(name: str, pairs: Sequence[Pair]) -> Tally:
    tally = Tally("ours", name)
    for pair in pairs:
        began = time.process_time()
        right = ours(pair)
        tally.add(pair, right, time.process_time() - began)
    return tally


def peer_tallies(peer: str, python: str, sets: dict[str, list[Pair]]) -> Iterator[Tally]:
    """A peer's verdicts over the mathematics of each set."""
    path = str(Path(__file__).with_name("peers.py"))
    with subprocess.Popen(
        [python, "-P", path, peer], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        greeting = json.loads(process.stdout.readline() or '{"missing": "it does not start"}')
        for name, pairs in sets.items():
            tally = Tally(peer, name, missing=greeting.get("missing", ""))
            for pair in [] if tally.missing else pairs:
                process.stdin.write(
                    json.dumps({"reference": pair.reference, "reply": pair.reply}) + "\n"
                )
                process.stdin.flush()
                told = json.loads(process.stdout.readline())
                tally.add(pair, told["right"], told["cpu"])
            yield tally
        process.stdin.close()


def sample(pairs: list[Pair], most: int) -> list[Pair]:
    """At most so many of the pairs, the same ones each time."""
    return pairs if len(pairs) <= most else random.Random(0).sample(pairs, most)


def table(tallies: Sequence[Tally]) -> str:
    """The rows in Markdown."""
    head = ["grader", "pairs", "wrong accepted", "right refused", "CPU, median", "CPU, 99 %"]
    rows = [head, ["---"] * len(head), *(tally.cells() for tally in tallies)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def missed(tallies: Sequence[Tally]) -> list[str]:
    """The targets that ours misses."""
    mine = [tally for tally in tallies if tally.grader == "ours"]
    times = [one for tally in mine for one in tally.seconds]
    refused = sum(len(tally.refused) for tally in mine)
    decided = sum(tally.right for tally in mine)
    found = []
    if any(tally.accepted for tally in mine):
        found.append("a wrong reply is accepted")
    if refused > MOST_REFUSED * decided:
        found.append(f"{refused} of {decided} right replies are refused")
    if 1000 * statistics.median(times) > MOST_MEDIAN_MS:
        found.append("the median verdict takes over 5 ms")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--out", type=Path, help="folder for every misjudged pair")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--most", type=int, default=4000, help="pairs of a set for a peer")
    asked = parser.parse_args()
    known = battery()
    sets = {"battery, mathematics": [pair for pair in known if pair.grader == "math"]}
    short = [pair for pair in known if pair.grader != "math"]
    folder = os.environ.get("HARNESS_DATA_DIR", "")
    if folder:
        some = references(Path(folder))
        sets["rewritings of pinned references"] = rewritings(some)
        sets["different pinned references"] = different(some)
    else:
        print("rewritings and pairs: not run: HARNESS_DATA_DIR is not set")
    tallies = [our_tally(name, pairs) for name, pairs in sets.items()]
    tallies.append(our_tally("battery, short answers", short))
    print(table(tallies), flush=True)
    asked_of_peers = {name: sample(pairs, asked.most) for name, pairs in sets.items()}
    for peer in asked.peers:
        for tally in peer_tallies(peer, asked.python, asked_of_peers):
            print(f"| {' | '.join(tally.cells())} |", flush=True)
            tallies.append(tally)
    for tally in (tally for tally in tallies if tally.grader == "ours"):
        for what, pairs in (("ACCEPTED", tally.accepted), ("REFUSED", tally.refused)):
            for pair in pairs:
                print(f"{what}: {pair.kind}: {pair.reference!r} <- {pair.reply!r}")
    if asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
        for tally in tallies:
            rows = [("accepted", pair) for pair in tally.accepted]
            rows += [("refused", pair) for pair in tally.refused]
            lines = [json.dumps([what, p.reference, p.reply, p.kind]) for what, p in rows]
            name = f"{tally.grader} {tally.name}".replace(" ", "_").replace(",", "")
            (asked.out / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for target in missed(tallies):
        print(f"TARGET MISSED: {target}")
    return 1 if missed(tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
