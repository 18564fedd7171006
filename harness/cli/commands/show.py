"""`harness show`: a run's prompts with ratings and lineage, learning curve, sample transcripts.

Whatever a model or world wrote is shown as text: no markup, no escape sequences.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from harness.cli.arguments import Arguments
from harness.cli.show_prompt_pools import kept
from harness.display.console_text import plain, sparkline
from harness.errors import RunError
from harness.reward_hacking import alarms
from harness.runs.request import read_request
from harness.runs.run_dirs import existing
from harness.storage.atomic_files import lines
from harness.storage.run_dir import signs_of
from harness.types import JSON, SystemPrompt

Record = Mapping[str, Any]
_COSTS = ("episodes", "acting_tokens", "reflection_tokens", "gradient_steps")


def _log(path: Path) -> list[Record]:
    return [cast(Record, line) for _, line in lines(path) if isinstance(line, dict)]


def within(state: JSON, wanted: str) -> Iterator[JSON]:
    """Every value of that name in a method's state, however it nests."""
    if isinstance(state, Mapping):
        for name, value in state.items():
            if name == wanted:
                yield value
            else:
                yield from within(value, wanted)


def _curve(console: Console, logged: Sequence[Record], done: bool) -> None:
    rounds = [r for r in logged if r["scores"]]  # by prompt: empty where nobody played
    if not rounds:
        console.print("no round was played" if done or logged else "no finished round yet")
        return
    rewards = [float(r["reward"]) for r in rounds if r["reward"] is not None]
    ends = f"first {rewards[0]:.3f}, last {rewards[-1]:.3f}" if rewards else "nothing was scored"
    console.print(f"training reward by round  {sparkline(rewards)}  {ends}")
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
    learnt = [(r["round"], line) for r in rounds[-12:] for line in r["lines"][:6]]
    if learnt:
        console.print(Rule("what was learnt", align="left"))
    for number, line in learnt:
        console.print(Text(f"round {number + 1}: {plain(line, 300)}"))


def _alarms(console: Console, place: Path) -> None:
    """What the training evidence gives reason to look at, and the last round's signs."""
    history = signs_of(place)
    if not any(history):
        return
    console.print(Rule("signs of reward hacking", align="left"))
    found = alarms(history)
    for alarm in found:
        console.print(Text(f"! {plain(alarm, 300)}", style="yellow"))
    last = [f"{name} {value:.2f}" for name, value in history[-1].items() if value is not None]
    console.print(Text(f"{'' if found else 'none; '}last round: {', '.join(last)}", style="dim"))


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


def changes(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """What was done to the principles, a line each: added (+), changed (~) or removed (−)."""
    for _, i, end, j, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        before, after = old[i:end], new[j:stop]
        if before == after:
            continue
        both = min(len(before), len(after))
        yield from (
            f"~ {plain(was, 80)} → {plain(now, 120)}"
            for was, now in zip(before[:both], after[:both], strict=True)
        )
        yield from (f"− {plain(was, 200)}" for was in before[both:])
        yield from (f"+ {plain(now, 200)}" for now in after[both:])


def _chain(console: Console, root: SystemPrompt, log: Sequence[Record]) -> None:
    """The one prompt of a method that keeps no others, as it went from round to round."""
    found = ((line["round"], next(within(line["state"], "prompt"), None)) for line in log)
    chain = [(n, cast(Record, p)) for n, p in found if isinstance(p, Mapping)]
    if not chain:
        return
    console.print(Rule("the prompt, round by round", align="left"))
    console.print(Text(f"start     {root.id}"))
    last, principles = root.id, list(root.principles)
    for number, prompt in chain:
        same = "  unchanged" if prompt["id"] == last else ""
        console.print(Text(f"round {number + 1:<3} {plain(str(prompt['id']), 20)}{same}"))
        now = [str(p) for p in prompt["principles"]]
        for line in changes(principles, now):
            console.print(Text(f"  {line}", style="dim"))
        last, principles = prompt["id"], now


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


def print_run(console: Console, place: Path, transcripts: int) -> None:
    """One run, as text; RunError where its logs are not those of a run."""
    try:
        _print(console, place, transcripts)
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as e:
        raise RunError(
            f"{place} holds a log that no run of this version wrote ({type(e).__name__}:"
            f" {plain(str(e), 100)}); show another run, or restore it."
        ) from e


def _print(console: Console, place: Path, transcripts: int) -> None:
    request = read_request(place)
    done = (place / "entry.json").exists()
    title = f"{request.env.name} · {request.method} · {request.model_url} · seed {request.run.seed}"
    console.print(Rule(Text(title)))
    state = "finished" if done else f"unfinished; go on with: harness resume {place}"
    console.print(f"{place}: {state}", markup=False, highlight=False)
    if request.env_options:
        chosen = ", ".join(f"{key} = {value!r}" for key, value in request.env_options.items())
        console.print(Text(f"world: {plain(chosen, 300)}"))
    _curve(console, _log(place / "rounds.jsonl"), done)
    _alarms(console, place)
    states = _log(place / "population.jsonl")
    for members in within(states[-1]["state"], "population") if states else ():
        _lineage(console, cast(Sequence[Record], members))
    for kept_title, told in kept(states[-1]["state"]) if states else ():
        console.print(Rule(kept_title, align="left"))
        for text in told:
            console.print(text)
    _chain(console, SystemPrompt(request.run.prompt or ""), states)
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


def main(arguments: Arguments) -> int:
    """Print one run, or every run of an experiment."""
    console = Console()
    for place in existing(arguments.run):
        print_run(console, place, arguments.transcripts)
    return 0
