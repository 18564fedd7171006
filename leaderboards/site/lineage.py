"""The evolutionary tree of a run's prompts: descent, changes along edges, positions of nodes.

Pure functions: prompts in, positions and differences out. Ratings have no influence here.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from leaderboards.site.log import PopulationMember

SIMILAR = 0.7  # above this ratio a principle was edited; below, one was removed and one added
_LONGEST_DIFF = 2000  # characters; longer principles are compared by their words' numbers only
# Pairs of characters compared for one tree: a stranger's entry may hold megabytes of principles.
_MOST_COMPARED = 100_000_000

Part = tuple[Literal["same", "gone", "new"], str]


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one principle along an edge: added, removed, or changed word by word."""

    kind: Literal["added", "removed", "changed"]
    parts: tuple[Part, ...]
    source: str = ""  # the other parent that had this principle before


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge from parent to offspring. `first`: the parent that the text is compared with."""

    parent: str
    offspring: str
    first: bool


@dataclass(frozen=True, slots=True)
class LineageNode:
    """A prompt, its position in the drawing (column by generation, lane), and its changes."""

    prompt: PopulationMember
    column: int
    lane: int
    changes: tuple[Change, ...]
    selected: bool
    ancestor: bool  # of the selected prompt, or the selected prompt itself


@dataclass(frozen=True, slots=True)
class LineageTree:
    """All prompts by generation, with their edges; `columns` and `lanes` are the drawing's size.

    `path` leads from the initial prompt to the selected one by first parents.
    """

    nodes: tuple[LineageNode, ...]
    edges: tuple[Edge, ...]
    columns: int
    lanes: int
    path: tuple[LineageNode, ...]


def lay_out_tree(prompts: Sequence[PopulationMember], selected: str) -> LineageTree:
    """Lay out the tree; the ancestors of the selected prompt have the first lane to themselves."""
    known = {prompt.id: prompt for prompt in prompts}
    line = _line(known, selected)
    columns = _columns(prompts, known)
    ordered = sorted(prompts, key=lambda p: columns[p.id])
    lanes = _lanes(ordered, columns, line)
    exact = _exact(ordered, known)
    nodes = tuple(
        LineageNode(
            prompt,
            columns[prompt.id],
            lanes[prompt.id],
            tuple(changes(prompt, known, prompt.id in exact)),
            prompt.id == selected,
            prompt.id in line,
        )
        for prompt in ordered
    )
    edges = tuple(
        Edge(parent, p.id, number == 0)
        for p in ordered
        for number, parent in enumerate([q for q in p.parents if q in known])
    )
    by_id = {node.prompt.id: node for node in nodes}
    path = tuple(by_id[id] for id in line)
    wide, deep = max(columns.values(), default=0), max(lanes.values(), default=0)
    return LineageTree(nodes, edges, wide + 1, deep + 1, path)


def _line(known: Mapping[str, PopulationMember], selected: str) -> list[str]:
    """Ids from the oldest known ancestor to the selected prompt, by first parents."""
    line: list[str] = []
    at = selected
    # A log whose parents form a circle must not hang the build.
    while at in known and at not in line:
        line.append(at)
        at = next(iter(known[at].parents), "")
    return line[::-1]


def _columns(
    prompts: Sequence[PopulationMember], known: Mapping[str, PopulationMember]
) -> dict[str, int]:
    """One column for each round that made a prompt; offspring are right of their parents."""
    columns: dict[str, int] = {}
    for prompt in sorted(prompts, key=lambda p: p.generation):
        parents = [columns[p] for p in prompt.parents if p in columns]
        columns[prompt.id] = max(
            [prompt.generation + (1 if prompt.parents else 0)] + [c + 1 for c in parents]
        )
    steps = {column: place for place, column in enumerate(sorted(set(columns.values())))}
    return {id: steps[column] for id, column in columns.items()}


def _lanes(
    ordered: Sequence[PopulationMember], columns: Mapping[str, int], line: Sequence[str]
) -> dict[str, int]:
    """A lane for each prompt: its parent's where that is free, else the nearest free one.

    An edge leaves its parent at once and then runs along its offspring's lane, so that lane is
    occupied from the column after the parent.
    """
    lanes = dict.fromkeys(line, 0)
    taken: dict[int, int] = {0: max(columns.values(), default=0)} if line else {}
    tips = set(line)  # prompts whose lane is already continued
    for prompt in ordered:
        if prompt.id in lanes:
            continue
        parent = next((p for p in prompt.parents if p in lanes), None)
        if parent is not None and parent not in tips:
            lane = lanes[parent]
            tips.add(parent)
        else:
            begins = columns[parent] + 1 if parent else columns[prompt.id]
            near = sorted(taken, key=lambda n: (abs(n - (lanes[parent] if parent else 0)), n))
            lane = next((n for n in near if taken[n] < begins), len(taken))
        lanes[prompt.id] = lane
        taken[lane] = max(taken.get(lane, 0), columns[prompt.id])
    return lanes


def _exact(
    ordered: Sequence[PopulationMember], known: Mapping[str, PopulationMember]
) -> frozenset[str]:
    """Ids of the prompts that are compared with their parents character by character."""
    found, compared = [], 0
    for prompt in ordered:
        parent = next((known[p] for p in prompt.parents if p in known), None)
        size = sum(map(len, prompt.principles))
        compared += size * sum(map(len, parent.principles)) if parent else 0
        if compared > _MOST_COMPARED:
            break
        found.append(prompt.id)
    return frozenset(found)


def changes(
    offspring: PopulationMember, known: Mapping[str, PopulationMember], exact: bool = True
) -> Iterator[Change]:
    """The differences of a prompt's principles from its first parent's, in the prompt's order.

    Not `exact`: principles are compared by the numbers of their words alone, which is quick.
    """
    parents = [known[p] for p in offspring.parents if p in known]
    if not offspring.parents:
        yield from (Change("added", (("new", text),)) for text in offspring.principles)
        return
    old = parents[0].principles if parents else ()
    others = {text: p.id for p in parents[1:] for text in p.principles}
    blocks = SequenceMatcher(None, old, offspring.principles, autojunk=False).get_opcodes()
    for tag, i, end, j, stop in blocks:
        if tag != "equal":
            yield from _block(old[i:end], offspring.principles[j:stop], others, exact)


def _block(
    gone: Sequence[str], new: Sequence[str], others: Mapping[str, str], exact: bool = True
) -> Iterator[Change]:
    """Pair each removed principle with the most similar added one."""
    left = list(gone)
    for text in new:
        ratios = [(_similarity(was, text, exact), was) for was in left]
        ratio, was = max(ratios, default=(0.0, ""))
        # What another parent has word by word was taken from it, however similar an old text is.
        if ratio > SIMILAR and text not in others:
            left.remove(was)
            yield Change("changed", tuple(_words(was, text, exact)))
        else:
            yield Change("added", (("new", text),), others.get(text, ""))
    yield from (Change("removed", (("gone", text),)) for text in left)


def _similarity(was: str, now: str, exact: bool) -> float:
    """Share of two texts that is the same, 0 to 1: by characters, of long texts by words."""
    if exact and max(len(was), len(now)) <= _LONGEST_DIFF:
        return SequenceMatcher(None, was, now, autojunk=False).ratio()
    # Comparing characters takes time by the product of both lengths, seconds for a stranger's text.
    old, new = Counter(was.split()), Counter(now.split())
    return 2 * (old & new).total() / max(1, old.total() + new.total())


def _words(was: str, now: str, exact: bool) -> Iterator[Part]:
    if not exact or max(len(was), len(now)) > _LONGEST_DIFF:
        yield "gone", was
        yield "new", now
        return
    old, new = re.findall(r"\s+|\w+|[^\w\s]", was), re.findall(r"\s+|\w+|[^\w\s]", now)
    # autojunk would pass over what is frequent in a long text, spaces above all.
    for tag, i, end, j, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield "same", "".join(old[i:end])
            continue
        if i < end:
            yield "gone", "".join(old[i:end])
        if j < stop:
            yield "new", "".join(new[j:stop])
