"""`harness show`: a run's prompts with ratings and lineage, learning curve, sample transcripts.

Whatever a model or world wrote is shown as text: no markup, no escape sequences.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from harness.cli.experiment import read_request
from harness.cli.resume import existing
from harness.console import plain, sparkline
from harness.durable import lines
from harness.types import JSON

Record = Mapping[str, Any]
_COSTS = ("episodes", "acting_tokens", "reflection_tokens", "gradient_steps")


def _log(path: Path) -> list[Record]:
    return [cast(Record, line) for _, line in lines(path)]


def populations(state: JSON) -> Iterator[Sequence[Record]]:
    """Every population in a method's state, however it nests."""
    if isinstance(state, Mapping):
        for name, value in state.items():
            if name == "population" and isinstance(value, Sequence):
                yield cast(Sequence[Record], value)
            else:
                yield from populations(value)


def _curve(console: Console, rounds: Sequence[Record]) -> None:
    if not rounds:
        console.print("no finished round yet")
        return
    rewards = [float(r["reward"]) if r["reward"] is not None else float("nan") for r in rounds]
    console.print(
        f"training reward by round  {sparkline(rewards)}  "
        f"first {rewards[0]:.3f}, last {rewards[-1]:.3f}"
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("round", "reward", "episodes", "tokens acting", "reflecting", "gradient steps"):
        table.add_column(head, justify="right")
    for r in rounds[-12:]:
        spent = r["spent"]
        table.add_row(
            str(r["round"] + 1),
            "—" if r["reward"] is None else f"{r['reward']:.3f}",
            *(str(spent[n]) for n in _COSTS),
        )
    console.print(table)
    console.print(Rule("what was learnt", align="left"))
    for r in rounds[-12:]:
        for line in r["lines"][:6]:
            console.print(Text(f"round {r['round'] + 1}: {plain(line, 300)}"))


def _lineage(console: Console, members: Sequence[Record]) -> None:
    console.print(Rule("prompts: ratings and lineage", align="left"))
    nodes: dict[str, Tree] = {}
    top = Tree(Text("population"), hide_root=True)
    for m in members:
        label = Text(
            f"{m['id']}  μ {m['mu']:.1f}  σ {m['sigma']:.1f}  played {m['played']}  "
            f"{plain(str(m['origin']), 20)}, born in round {m['born'] + 1}"
        )
        parent = next((nodes[p] for p in m["parents"] if p in nodes), top)
        nodes[m["id"]] = parent.add(label)
        for principle in m["principles"]:
            nodes[m["id"]].add(Text(plain(str(principle), 100), style="dim"))
    console.print(top)


def _transcripts(console: Console, episodes: Sequence[Record], count: int) -> None:
    right = [e for e in episodes if e["success"]]
    wrong = [e for e in episodes if not e["success"] and e["reward"] is not None]
    unscored = [e for e in episodes if e["reward"] is None]
    chosen = [e for pair in zip(right, wrong, strict=False) for e in pair]
    chosen += [e for e in [*right, *wrong, *unscored] if e not in chosen]
    for e in chosen[:count]:
        reward = "unscored" if e["reward"] is None else f"reward {e['reward']:g}"
        console.print(
            Rule(f"{e['task']}, sample {e['sample']}: {reward}, {e['ending']}", align="left")
        )
        for turn in e["turns"]:
            console.print(Text(f"world: {plain(turn['observation'], 600)}"))
            console.print(Text(f"agent: {plain(turn['reply'], 1200)}", style="bold"))
        if e["error"] or e["feedback"]:
            console.print(Text(plain(e["error"] or e["feedback"], 300), style="dim"))


def _show(console: Console, place: Path, transcripts: int) -> None:
    request = read_request(place)
    done = (place / "entry.json").exists()
    title = f"{request.env.name} · {request.method} · {request.model_url} · seed {request.run.seed}"
    console.print(Rule(Text(title)))
    state = "finished" if done else f"unfinished; go on with: harness resume {place}"
    console.print(f"{place}: {state}", markup=False, highlight=False)
    _curve(console, _log(place / "rounds.jsonl"))
    last = _log(place / "population.jsonl")[-1:]
    for members in populations(last[0]["state"]) if last else ():
        _lineage(console, members)
    champion = place / "champion.txt"
    if champion.exists():
        console.print(Rule("champion's system prompt", align="left"))
        for line in champion.read_text(encoding="utf-8").splitlines():
            console.print(Text(plain(line, 500)))
    tested = _log(place / "test.jsonl")
    played = tested or _log(place / "episodes.jsonl")
    if transcripts and played:
        console.print(Rule("test transcripts" if tested else "training transcripts", align="left"))
        _transcripts(console, played, transcripts)


def main(arguments: argparse.Namespace) -> int:
    """Print one run, or every run of an experiment."""
    console = Console()
    for place in existing(arguments.run):
        _show(console, place, arguments.transcripts)
    return 0
