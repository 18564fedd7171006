"""The evolutionary tree: positions, the champion's line, and what each edge changed."""

from leaderboards.site.lineage import grow
from leaderboards.site.log import Lived

ROOT = Lived("r", (), (), "root", 0)
A = Lived("a", ("Carry the one.",), ("r",), "mutation", 0)
B = Lived("b", ("Be brief.",), ("r",), "mutation", 1)
C = Lived("c", ("Carry the two.", "Be brief."), ("a", "b"), "crossover", 2)
D = Lived("d", ("Carry the one.",), ("gone",), "mutation", 2)


def test_the_champions_line_keeps_the_first_lane_and_time_runs_to_the_right():
    tree = grow([ROOT, A, B, C], "c")
    at = {n.prompt.id: (n.column, n.lane) for n in tree.nodes}
    assert at == {"r": (0, 0), "a": (1, 0), "b": (2, 1), "c": (3, 0)}
    assert [n.prompt.id for n in tree.path] == ["r", "a", "c"]
    assert [n.prompt.id for n in tree.nodes if n.champion] == ["c"]
    assert (tree.columns, tree.lanes) == (4, 2)


def test_an_edge_says_which_parent_is_the_first():
    edges = {(e.parent, e.child): e.first for e in grow([ROOT, A, B, C], "c").edges}
    assert edges == {("r", "a"): True, ("r", "b"): True, ("a", "c"): True, ("b", "c"): False}


def test_a_change_is_told_word_by_word_and_what_came_from_the_other_parent_says_so():
    told = grow([ROOT, A, B, C], "c").path[-1].changes
    assert [(c.kind, c.source) for c in told] == [("changed", ""), ("added", "b")]
    assert told[0].parts == (
        ("same", "Carry the "),
        ("gone", "one"),
        ("new", "two"),
        ("same", "."),
    )


def test_what_left_is_told_too():
    less = Lived("l", (), ("a",), "mutation", 3)
    (change,) = grow([ROOT, A, less], "l").path[-1].changes
    assert (change.kind, change.parts) == ("removed", (("gone", "Carry the one."),))


def test_a_parent_that_nobody_remembers_is_no_edge():
    tree = grow([ROOT, D], "d")
    assert tree.edges == () and [n.prompt.id for n in tree.path] == ["d"]


def test_a_circle_of_parents_ends():
    x = Lived("x", ("1",), ("y",), "mutation", 0)
    y = Lived("y", ("2",), ("x",), "mutation", 0)
    assert {n.prompt.id for n in grow([x, y], "x").nodes} == {"x", "y"}
