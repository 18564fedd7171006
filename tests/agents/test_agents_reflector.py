import pytest

from agents.parts.prompts.reflector import ReflectionRequest, Reflector
from agents.parts.prompts.template_filling import fill, shares, shorten, template
from harness.policies.base import Sampling
from harness.policies.scripted import ScriptedPolicy
from harness.seeds import Seeds
from harness.types import Completion, Finish

STAGES = ("summarise", "critique", "propose", "aggregate", "crossover")
FIELDS = {
    "summarise": ("principles", "problem", "answer", "attempt", "verdict"),
    "critique": ("principles", "problem", "answer", "summaries"),
    "propose": ("principles", "critique", "limit"),
    "aggregate": ("principles",),
    "crossover": ("name", "principles", "returns", "strengths", "limit"),
}


def reflector(policy, max_tokens=64, seed=1):
    return Reflector(policy, Sampling(0.7, 1.0, max_tokens), Seeds(seed))


def heard(reply=lambda request: "yes", context=None):
    """A policy that keeps the requests it was given."""
    requests = []

    def kept(request):
        requests.append(request)
        return reply(request)

    policy = ScriptedPolicy(kept)
    policy.context = context
    return policy, requests


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("stage", STAGES)
def test_every_template_is_filled_by_its_stages_fields(stage, compact):
    text = fill(template(stage, compact), {name: f"<{name}>" for name in FIELDS[stage]}, 10_000)
    assert "{{" not in text
    assert "<principles>" in text


def test_values_are_never_read_as_templates():
    form = "A {{one}} B {{two}}"
    text = fill(form, {"one": "{{two}} {0} %s {% raw %}", "two": "{{one}}"}, 1000)
    assert text == "A {{two}} {0} %s {% raw %} B {{one}}"


def test_a_field_that_is_not_given_is_an_error():
    with pytest.raises(KeyError, match="two"):
        fill("{{one}} {{two}}", {"one": "x"}, 100)


def test_room_is_shared_so_that_short_texts_stay_whole():
    assert shares([10, 100, 50], 1000) == [10, 100, 50]
    assert shares([10, 100, 50], 90) == [10, 40, 40]
    assert shares([10, 100], -5) == [0, 0]


def test_shortening_keeps_head_and_tail():
    text = shorten("a" * 50 + "b" * 50, 35)
    assert text == "a" * 20 + " […] " + "b" * 10
    assert shorten("whole", 5) == "whole"
    assert [len(shorten("x" * 99, n)) for n in range(60)] == list(range(60))


def test_a_question_fits_the_reflectors_context():
    policy, requests = heard(context=4096)
    asking = reflector(policy, max_tokens=1024)
    fields = dict.fromkeys(FIELDS["critique"], "x" * 30_000)
    asking.query(
        "mutation", "critique", [ReflectionRequest("t", {**fields, "summaries": ["y" * 9000] * 5})]
    )
    said = requests[0].conversation[0].content
    assert len(said) <= (4096 - 1024 - 32) * 3
    assert len(said) > 8000
    assert said.count("y […] y") == 5


@pytest.mark.parametrize(("context", "compact"), [(512, True), (2048, True), (8192, False)])
def test_small_models_get_the_compact_form_and_leave_room_for_the_question(context, compact):
    policy, requests = heard(context=context)
    asking = reflector(policy, max_tokens=10_000)
    asking.query(
        "mutation", "propose", [ReflectionRequest("t", dict.fromkeys(FIELDS["propose"], "x"))]
    )
    assert ("You maintain" in requests[0].conversation[0].content) is not compact
    assert requests[0].sampling.max_tokens == context // (4 if compact else 2)


@pytest.mark.parametrize("stage", STAGES)
def test_compact_questions_leave_half_of_a_tiny_context_to_the_evidence(stage):
    assert len(template(stage, True)) < (512 - 128 - 32) * 3 / 2


def test_answers_are_matched_by_id_however_they_arrive():
    policy, _ = heard(lambda request: request.id.rpartition("/")[2])
    generate = policy.generate
    policy.generate = lambda waiting: reversed(list(generate(waiting)))
    asked = [ReflectionRequest(item, {"principles": "x"}) for item in "abc"]
    answers = reflector(policy).query("mutation", "aggregate", asked)
    assert list(answers.items()) == [("a", "a"), ("b", "b"), ("c", "c")]


def test_noise_depends_on_what_is_asked_about_and_not_on_order():
    seeds = []
    for items in ("ab", "ba"):
        policy, requests = heard()
        asked = [ReflectionRequest(item, {"principles": "x"}) for item in items]
        reflector(policy).query("mutation", "aggregate", asked)
        seeds.append({r.id: r.seed for r in requests})
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0].values())) == 2


def test_requests_are_marked_as_reflection():
    policy, requests = heard()
    form = ReflectionRequest("a", {"principles": "x"}, grammar="NONE")
    reflector(policy).query("mutation", "aggregate", [form])
    assert (requests[0].purpose, requests[0].grammar) == ("reflect", "NONE")


def test_a_missing_answer_is_reported_and_not_invented():
    policy, _ = heard(lambda request: "" if request.id.endswith("b") else "yes")
    generate = policy.generate
    policy.generate = lambda waiting: (r for r in generate(waiting) if not r[0].endswith("c"))
    policy.failures["reflect/mutation/aggregate/c"] = "HTTP 500"
    asking = reflector(policy)
    asked = [ReflectionRequest(item, {"principles": "x"}) for item in "abc"]
    assert asking.query("mutation", "aggregate", asked) == {"a": "yes"}
    assert asking.unanswered == [
        "reflect/mutation/aggregate/b (the reply was empty)",
        "reflect/mutation/aggregate/c (HTTP 500)",
    ]
    assert asking.calls == 3


def test_an_unfinished_thought_is_no_answer_and_the_setting_that_helps_is_named():
    policy, _ = heard(lambda request: "<think>ADD: perhaps, and then")
    asking = reflector(policy)
    asked = [ReflectionRequest("a", {"principles": "x"})]
    assert asking.query("mutation", "aggregate", asked) == {}
    (reason,) = asking.unanswered
    assert "its thought was not finished within" in reason
    assert "reflection.max_tokens" in reason


def test_thinking_is_not_part_of_an_answer():
    policy, _ = heard(lambda request: "<think>ADD: no</think>\nNONE")
    asked = [ReflectionRequest("a", {"principles": "x"})]
    assert reflector(policy).query("mutation", "aggregate", asked) == {"a": "NONE"}


def cut_off(texts, **more):
    """A policy whose replies, by item, were cut off by the token limit."""
    policy, _ = heard()
    policy.generate = lambda waiting: (
        (r.id, Completion(texts[r.id.rsplit("/", 1)[1]], Finish.LENGTH, 64, **more))
        for r in waiting
    )
    return policy


MUSING = "ADD: Always assume the answer is even … but no, that is wrong"


@pytest.mark.parametrize(
    "text",
    [
        MUSING,
        f"The attempts differ.\n{MUSING}\nLet me look again.",
        f"Perhaps:\n{MUSING}\n",
        f"I begin. <think>{MUSING}\nand",
        f"ADD: Be brief.\n<think>{MUSING}",
    ],
)
def test_a_list_of_edits_that_was_cut_off_gives_no_musing(text):
    asking = reflector(cut_off({"a": text}))
    asked = [ReflectionRequest("a", {"principles": "x"}, grammar="ADD: .*")]
    assert asking.query("mutation", "aggregate", asked) == {}
    assert "reflection.max_tokens" in asking.unanswered[0]


def test_edits_that_were_complete_before_the_cut_are_kept():
    asking = reflector(cut_off({"a": "ADD: Count first.\n- MODIFY 1: Then add.\nADD: And th"}))
    asked = [ReflectionRequest("a", {"principles": "x"}, grammar="ADD: .*")]
    assert asking.query("mutation", "aggregate", asked) == {
        "a": "ADD: Count first.\n- MODIFY 1: Then add."
    }


def test_a_cut_reply_without_marks_is_a_thought_where_the_model_thinks():
    texts = {"a": "so the rule is</think>\nThe signs differ.", "b": "Let me see. The first"}
    asking = reflector(cut_off(texts))
    asked = [ReflectionRequest(item, {"principles": "x"}) for item in "ab"]
    # Reply a closes a thought that its prompt had opened, so b ends within one.
    assert asking.query("mutation", "aggregate", asked) == {"a": "The signs differ."}
    assert "its thought was not finished" in asking.unanswered[0]
    # A model that is not known to think was cut off within its analysis, which is of use.
    plain = reflector(cut_off({"b": texts["b"]}))
    assert plain.query("mutation", "aggregate", asked[1:]) == {"b": texts["b"]}
