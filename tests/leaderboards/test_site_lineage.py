"""The evolutionary tree: positions, ancestors of the selected prompt, changes along edges."""

from leaderboards.site.lineage import lay_out_tree
from leaderboards.site.log import PopulationMember

ROOT = PopulationMember("r", (), (), "root", 0)
A = PopulationMember("a", ("Carry the one.",), ("r",), "mutation", 0)
B = PopulationMember("b", ("Be brief.",), ("r",), "mutation", 1)
C = PopulationMember("c", ("Carry the two.", "Be brief."), ("a", "b"), "crossover", 2)
D = PopulationMember("d", ("Carry the one.",), ("gone",), "mutation", 2)


def test_ancestors_of_the_selected_prompt_keep_the_first_lane_and_time_runs_to_the_right():
    tree = lay_out_tree([ROOT, A, B, C], "c")
    at = {n.prompt.id: (n.column, n.lane) for n in tree.nodes}
    assert at == {"r": (0, 0), "a": (1, 0), "b": (2, 1), "c": (3, 0)}
    assert [n.prompt.id for n in tree.path] == ["r", "a", "c"]
    assert [n.prompt.id for n in tree.nodes if n.selected] == ["c"]
    assert (tree.columns, tree.lanes) == (4, 2)


def test_an_edge_says_which_parent_is_the_first():
    edges = {(e.parent, e.offspring): e.first for e in lay_out_tree([ROOT, A, B, C], "c").edges}
    assert edges == {("r", "a"): True, ("r", "b"): True, ("a", "c"): True, ("b", "c"): False}


def test_a_change_is_told_word_by_word_and_what_came_from_the_other_parent_says_so():
    told = lay_out_tree([ROOT, A, B, C], "c").path[-1].changes
    assert [(c.kind, c.source) for c in told] == [("changed", ""), ("added", "b")]
    assert told[0].parts == (
        ("same", "Carry the "),
        ("gone", "one"),
        ("new", "two"),
        ("same", "."),
    )


def test_what_left_is_told_too():
    less = PopulationMember("l", (), ("a",), "mutation", 3)
    (change,) = lay_out_tree([ROOT, A, less], "l").path[-1].changes
    assert (change.kind, change.parts) == ("removed", (("gone", "Carry the one."),))


def test_a_parent_that_nobody_remembers_is_no_edge():
    tree = lay_out_tree([ROOT, D], "d")
    assert tree.edges == () and [n.prompt.id for n in tree.path] == ["d"]


def test_a_circle_of_parents_ends():
    x = PopulationMember("x", ("1",), ("y",), "mutation", 0)
    y = PopulationMember("y", ("2",), ("x",), "mutation", 0)
    assert {n.prompt.id for n in lay_out_tree([x, y], "x").nodes} == {"x", "y"}
