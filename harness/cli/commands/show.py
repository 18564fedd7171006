"""`harness show`: a run's prompts with ratings and lineage, learning curve, sample transcripts.

Whatever a model or environment wrote is shown as text: no markup, no escape sequences.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, TypeVar, cast

from rich.console import Console
from rich.rule import Rule
from rich.text import Text
from rich.tree import Tree

from harness.cli.arguments import Arguments
from harness.cli.show_facts import facts_table, runs_table
from harness.cli.show_prompt_pools import prompt_pools
from harness.display.console_text import pipe_safe, plain, sparkline
from harness.display.fitted_table import FittedTable
from harness.display.safe_console import SafeConsole
from harness.display.tracker import MONITORS
from harness.errors import HarnessError, RunError
from harness.reward_hacking import alarms
from harness.runs.history.facts import read_facts
from harness.runs.history.logged import read_prompts, within
from harness.runs.request import read_request
from harness.runs.run_dirs import existing, latest
from harness.storage.atomic_files import every_line, read_file, whole_lines
from harness.storage.checkpoint import UNREADABLE, read_checkpoint
from harness.storage.final_agent import final_agent_of
from harness.storage.run_dir import monitors_of
from harness.types import SystemPrompt
from leaderboards.boards.formatting import counted

Record = Mapping[str, Any]
T = TypeVar("T")
_COSTS = ("episodes", "acting_tokens", "reflection_tokens", "gradient_steps")


def _log(console: Console, path: Path) -> list[Record]:
    """The lines of a log; those that are damaged are named and left out."""
    found = [line for _, line in every_line(path)]
    if damaged := [str(number) for number, line in enumerate(found, 1) if line is None]:
        more = f" and {len(damaged) - 5:,} more" if len(damaged) > 5 else ""
        numbers = ", ".join(damaged[:5]) + more
        console.print(Text(f"! damaged: {path.name}, line {numbers}: left out", style="yellow"))
    return [cast(Record, line) for line in found if line is not None]


def _curve(console: Console, logged: Sequence[Record], done: bool) -> None:
    rounds = [r for r in logged if r["scores"]]  # by prompt: empty where there were no rollouts
    if not rounds:
        console.print("this run had no rollouts" if done or logged else "no finished iteration yet")
        return
    rewards = [float(r["reward"]) for r in rounds if r["reward"] is not None]
    ends = f"first {rewards[0]:.3f}, last {rewards[-1]:.3f}" if rewards else "nothing was scored"
    console.print(f"training reward by iteration  {sparkline(rewards)}  {ends}")
    heads = ("iteration", "reward", "episodes", "rollout\ntokens", "reflection\ntokens")
    rows = [
        (
            str(r["round"] + 1),
            "—" if r["reward"] is None else f"{r['reward']:.3f}",
            *(str(r["spent"][n]) for n in _COSTS),
        )
        for r in rounds[-12:]
    ]
    console.print(FittedTable((*heads, "gradient\nsteps"), rows, left=()))
    learned = [(r["round"], line) for r in rounds[-12:] for line in r["lines"][:6]]
    if learned:
        console.print(Rule("what was learned", align="left"))
    for number, line in learned:
        console.print(Text(f"iteration {number + 1}: {plain(line, 300)}"))


def _alarms(console: Console, run_dir: Path) -> None:
    """Alarms of the reward-hacking monitors, and the monitors of the last iteration."""
    history = monitors_of(run_dir)
    if not any(history):
        return
    console.print(Rule("reward-hacking monitors", align="left"))
    found = alarms(history)
    for alarm in found:
        console.print(Text(f"! {plain(alarm, 300)}", style="yellow"))
    last = [
        f"{MONITORS.get(name, name)} {value:.2f}"
        for name, value in history[-1].items()
        if value is not None
    ]
    console.print(
        Text(f"{'' if found else 'no alarm; '}last iteration: {', '.join(last)}", style="dim")
    )


def _lineage(console: Console, members: Sequence[Record]) -> None:
    console.print(Rule("prompts: ratings and lineage", align="left"))
    nodes: dict[str, Tree] = {}
    top = Tree(Text("population"), hide_root=True)
    for m in members:
        label = Text(
            f"{m['id']}  μ {m['mu']:.1f}  σ {m['sigma']:.1f}  evaluations {m['played']}  "
            f"{plain(str(m['origin']), 20)}, generation {m['born'] + 1}"
        )
        # A parent may have left the population; its children then stand at the top.
        parent = next((nodes[p] for p in m["parents"] if p in nodes), top)
        nodes[m["id"]] = parent.add(label)
        for principle in m["principles"]:
            nodes[m["id"]].add(Text(plain(str(principle), 100), style="dim"))
    console.print(top)


def changes(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """Changes of principles, a line each: added (+), changed (~) or removed (−)."""
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
    """The prompt of a method that keeps only one, iteration by iteration."""
    found = ((line["round"], next(within(line["state"], "prompt"), None)) for line in log)
    chain = [(n, cast(Record, p)) for n, p in found if isinstance(p, Mapping)]
    if not chain:
        return
    console.print(Rule("the prompt, iteration by iteration", align="left"))
    console.print(Text(f"start     {root.id}"))
    last, principles = root.id, list(root.principles)
    for number, prompt in chain:
        same = "  unchanged" if prompt["id"] == last else ""
        console.print(Text(f"iteration {number + 1:<3} {plain(str(prompt['id']), 20)}{same}"))
        now = [str(p) for p in prompt["principles"]]
        for line in changes(principles, now):
            console.print(Text(f"  {line}", style="dim"))
        last, principles = prompt["id"], now


def _transcripts(console: Console, episodes: Sequence[Record], count: int) -> None:
    right = [e for e in episodes if e["success"]]
    wrong = [e for e in episodes if not e["success"] and e["reward"] is not None]
    unscored = [e for e in episodes if e["reward"] is None]
    # Right and wrong in turn, so that a few transcripts show both.
    chosen = [e for pair in zip(right, wrong, strict=False) for e in pair]
    chosen += [e for e in [*right, *wrong, *unscored] if e not in chosen]
    for e in chosen[:count]:
        reward = "unscored" if e["reward"] is None else f"reward {e['reward']:g}"
        console.print(
            Rule(f"{e['task']}, sample {e['sample']}: {reward}, {e['ending']}", align="left")
        )
        for turn in e["turns"]:
            console.print(Text(f"env:   {plain(turn['observation'], 600)}"))
            console.print(Text(f"agent: {plain(turn['reply'], 1200)}", style="bold"))
        if e["error"] or e["feedback"]:
            console.print(Text(plain(e["error"] or e["feedback"], 300), style="dim"))


def print_run(console: Console, run_dir: Path, transcripts: int) -> None:
    """One run, as text; RunError where its logs are not those of a run."""
    try:
        _print(console, run_dir, transcripts)
    except (OSError, *UNREADABLE) as e:
        raise RunError(
            f"{run_dir} holds a log that no run of this version wrote ({type(e).__name__}:"
            f" {plain(str(e), 100)}); show another run, or restore it."
        ) from e


def _print(console: Console, run_dir: Path, transcripts: int) -> None:
    request = read_request(run_dir)
    done = (run_dir / "entry.json").exists()
    title = f"{request.env.name} · {request.method} · {request.model_url} · seed {request.run.seed}"
    console.print(Rule(Text(title)))
    state = "finished" if done else f"unfinished; continue with harness resume {run_dir}"
    console.print(f"{run_dir}: {state}", highlight=False, soft_wrap=True)
    console.print(facts_table(read_facts(run_dir)))
    if request.env_options:
        chosen = ", ".join(f"{key} = {value!r}" for key, value in request.env_options.items())
        console.print(Text(f"env options: {plain(chosen, 300)}"))
    _curve(console, _log(console, run_dir / "rounds.jsonl"), done)
    _alarms(console, run_dir)
    states = _log(console, run_dir / "population.jsonl")
    for members in within(states[-1]["state"], "population") if states else ():
        _lineage(console, cast(Sequence[Record], members))
    for pool_title, pool_lines in prompt_pools(states[-1]["state"]) if states else ():
        console.print(Rule(pool_title, align="left"))
        for text in pool_lines:
            console.print(text)
    _chain(console, SystemPrompt(request.run.prompt or ""), states)
    _damage(console, run_dir)
    champion = run_dir / "champion.txt"
    if champion.is_file():
        console.print(Rule("selected system prompt", align="left"))
        for line in read_file(champion).decode("utf-8", "replace").splitlines():
            console.print(Text(plain(line, 500)))
    tested = _log(console, run_dir / "test.jsonl")
    episodes = tested or _log(console, run_dir / "episodes.jsonl")
    if transcripts and episodes:
        console.print(Rule("test transcripts" if tested else "training transcripts", align="left"))
        _transcripts(console, episodes, transcripts)


def _damage(console: Console, run_dir: Path) -> None:
    """Print what a resume would refuse."""
    found = _refusal(run_dir)
    # Asked twice, because a run in progress may replace its checkpoint while it is read.
    if found and found == _refusal(run_dir):
        console.print(Text(f"! damaged: {plain(found, 1000)}", style="yellow"))


def _refusal(run_dir: Path) -> str:
    try:
        if not (run_dir / "checkpoint.old").exists():
            read_checkpoint(run_dir, quick=True)
        if (run_dir / "entry.json").exists():
            final_agent_of(run_dir)
    except RunError as error:
        return str(error)
    return ""


def main(arguments: Arguments) -> int:
    """Print one run, or a summary of a folder of runs; without a name, of the latest."""
    folder = arguments.run or latest()
    found = existing(folder)
    if len(found) == 1 and not arguments.json:
        print_run(pipe_safe(SafeConsole()), found[0], arguments.transcripts)
        return 0
    problems: dict[Path, HarnessError] = {}
    if arguments.json:
        shown = [one for run_dir in found if (one := _tried(_as_json, run_dir, problems))]
        if len(found) == 1 and problems:
            raise problems[found[0]]
        damaged = {str(run_dir): str(error) for run_dir, error in problems.items()}
        print(json.dumps({"runs": shown, **({"not_shown": damaged} if damaged else {})}))
    else:
        _print_summary(folder, found, problems)
    return next((error.exit_code for error in problems.values()), 0)


def _print_summary(folder: Path, found: Sequence[Path], problems: dict[Path, HarnessError]) -> None:
    """A folder of runs; those that are damaged are named and counted in `problems`."""
    console = pipe_safe(SafeConsole())
    facts = [one for run_dir in found if (one := _tried(read_facts, run_dir, problems))]
    console.print(Rule(Text(f"{folder}: {counted(len(found), 'run')}"), align="left"))
    for env, model in dict.fromkeys((one.env, one.model) for one in facts):
        console.print(Text(f"{plain(env, 80)} · {plain(model, 80)}", style="bold"))
        console.print(runs_table([one for one in facts if (one.env, one.model) == (env, model)]))
    for error in problems.values():
        message = f"! not shown: {plain(str(error), 1000)}"
        console.print(Text(message, style="red"), soft_wrap=True)
    console.print(
        f"one of them: harness show {found[0]}; compared: harness leaderboard {folder}",
        soft_wrap=True,
        highlight=False,
    )


def _tried(
    read: Callable[[Path], T], run_dir: Path, problems: dict[Path, HarnessError]
) -> T | None:
    """What is read of a run; None, and its problem, where it is damaged."""
    try:
        return read(run_dir)
    except HarnessError as error:
        problems[run_dir] = error
    except (OSError, *UNREADABLE) as error:
        problems[run_dir] = RunError(f"{run_dir} cannot be read ({type(error).__name__}: {error}).")
    return None


def _as_json(run_dir: Path) -> dict[str, Any]:
    """A run as plain values: facts, iterations, prompts and the selected prompt."""
    try:
        prompt = run_dir / "champion.txt"
        return {
            **read_facts(run_dir).to_json(),
            "curve": [
                {key: r[key] for key in ("round", "reward", "scores", "spent", "lines")}
                for r in cast(Iterator[Record], whole_lines(run_dir / "rounds.jsonl"))
            ],
            "prompts": [asdict(one) for one in read_prompts(run_dir / "population.jsonl")],
            "selected_prompt": read_file(prompt).decode("utf-8", "replace")
            if prompt.exists()
            else None,
        }
    except (OSError, *UNREADABLE) as error:
        raise RunError(
            f"{run_dir} holds a log that no run of this version wrote ({type(error).__name__}); "
            "show another run, or restore it."
        ) from error
