import re
import subprocess
import sys
import warnings
from collections import Counter

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from envs.errors import EnvError
from envs.search.encyclopedia import draw_encyclopedia
from envs.search.fictional import SIZES, Fictional, draw_questions
from envs.search.scoring import accepted_answers
from envs.text_env import SPLITS

# How every sentence of an article is read: subject, relation, value.
SENTENCES = [
    (re.compile(pattern), relation)
    for pattern, relation in (
        (r"(.+) was born in (.+)\.", "born"),
        (r"(.+) studied under (.+)\.", "taught"),
        (r"(.+) belonged to the (.+) guild\.", "belonged"),
        (r"(.+) lies on the river (.+)\.", "flows"),
        (r"(.+) was founded by (.+)\.", "founder"),
        (r"(.+) was founded in the year (.+)\.", "founded when"),
        (r"The river (.+) rises on mount (.+)\.", "rises"),
        (r"The river (.+) is (.+) miles long\.", "long"),
        (r"Mount (.+) was first climbed by (.+)\.", "climbed"),
        (r"Mount (.+) is (.+) feet high\.", "high"),
        (r"The (.+) guild meets in (.+)\.", "meets"),
        (r"The (.+) guild is led by (.+)\.", "leads"),
        (r"The book (.+) was written by (.+)\.", "wrote"),
        (r"The book (.+) is kept in (.+)\.", "kept"),
        (r"The book (.+) was finished in the year (.+)\.", "finished when"),
    )
]
# How a question is read from the outside in: what is asked of the rest.
FORMS = [
    (re.compile(pattern), relation)
    for pattern, relation in (
        (r"In which town was (.+) born\?", "born"),
        (r"the town where (.+) was born", "born"),
        (r"Who taught (.+)\?", "taught"),
        (r"the teacher of (.+)", "taught"),
        (r"To which guild did (.+) belong\?", "belonged"),
        (r"In which year was (.+) founded\?", "founded when"),
        (r"In which year was (.+) finished\?", "finished when"),
        (r"Which river flows through (.+)\?", "flows"),
        (r"the river that flows through (.+)", "flows"),
        (r"Who founded (.+)\?", "founder"),
        (r"the founder of (.+)", "founder"),
        (r"On which mountain does (.+) rise\?", "rises"),
        (r"the mountain where (.+) rises", "rises"),
        (r"How many miles long is (.+)\?", "long"),
        (r"How many feet high is (.+)\?", "high"),
        (r"Who first climbed (.+)\?", "climbed"),
        (r"the first climber of (.+)", "climbed"),
        (r"In which town does (.+) meet\?", "meets"),
        (r"the town where (.+) meets", "meets"),
        (r"Who leads (.+)\?", "leads"),
        (r"the leader of (.+)", "leads"),
        (r"Who wrote (.+)\?", "wrote"),
        (r"the author of (.+)", "wrote"),
        (r"In which town is (.+) kept\?", "kept"),
        (r"the town where (.+) is kept", "kept"),
        (r"the guild of (.+)", "belonged"),
    )
]
NAMED = re.compile(r"(?:the river |mount |the book |the )?([A-Z]\w+(?: [A-Z]\w+)?)(?: guild)?")


def facts(world):
    """Every fact of the corpus as its sentences tell it: (thing, relation) to values."""
    told: dict[tuple[str, str], list[str]] = {}
    for passage in world.corpus.passages:
        for sentence in re.findall(r"[^.]+\.", passage.text):
            (match, relation), *more = [
                (m, r) for p, r in SENTENCES if (m := p.fullmatch(sentence.strip()))
            ]
            assert not more
            assert match[1] == passage.title
            told.setdefault((match[1], relation), []).append(match[2])
    return told


def answers(text, told):
    """What the corpus says to a question, read from its words alone."""
    named = NAMED.fullmatch(text)
    if named:
        return {named[1]}
    found = set()
    for pattern, relation in FORMS:
        match = pattern.fullmatch(text)
        if match:
            for thing in answers(match[1], told):
                found |= set(told.get((thing, relation), ()))
    return found


@pytest.mark.parametrize("world_seed", [0, 7, 1000])
def test_every_question_has_one_answer_and_the_corpus_tells_it(world_seed):
    world = Fictional(world_seed=world_seed)
    told = facts(world)
    assert all(len(values) == 1 for values in told.values())
    for split in SPLITS:
        for index in range(world.size(split)):
            problem = world.problem(split, index)
            assert answers(problem.text, told) == {accepted_answers(problem.answer)[0]}, problem


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("world_seed", [0, 7, 1000])
def test_the_oracles_searches_find_the_needed_article_first_and_its_answer_earns_one(
    split, world_seed
):
    world = Fictional(split=split, world_seed=world_seed)
    for seed in range(world.size(split)):
        world.reset(seed=seed)
        needed = world.gold_passages(world.current)
        for passage in needed:
            said, _, terminated, truncated, _ = world.step(world.oracle())
            assert f"\n[1] {passage.title}: {passage.text}" in said
            assert not (terminated or truncated)
        assert accepted_answers(world.current.answer)[0] in said
        said, reward, terminated, _, info = world.step(world.oracle())
        assert (said, reward, terminated, info["success"]) == ("", 1.0, True, True)


def test_splits_share_neither_questions_nor_articles_nor_answers_that_are_names():
    world = Fictional()
    texts, paths, named = {}, {}, {}
    for split in SPLITS:
        problems = [world.problem(split, i) for i in range(world.size(split))]
        texts[split] = {p.text for p in problems}
        paths[split] = {passage.id for p in problems for passage in world.gold_passages(p)}
        named[split] = {p.answer for p in problems if not p.answer[0].isdigit()}
        assert len(texts[split]) == len({p.id for p in problems}) == SIZES[split]
    for sets in (texts, paths, named):
        assert not sets["train"] & sets["test"]
        assert not sets["train"] & sets["validation"]
        assert not sets["validation"] & sets["test"]


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_there_are_as_many_questions_of_every_number_of_hops(hops):
    world = Fictional(hops=hops)
    for split in SPLITS:
        counted = Counter(
            len(world.gold_passages(world.problem(split, i))) for i in range(world.size(split))
        )
        assert counted == dict.fromkeys(range(1, hops + 1), SIZES[split] / hops)


def test_no_two_articles_share_a_word_of_their_titles():
    for seed in range(20):
        words = [w for title in draw_encyclopedia(seed).articles for w in title.lower().split()]
        assert len(words) == len(set(words))
        assert not {"the", "a", "an"} & set(words)


@pytest.mark.parametrize("extra", ["{}", "the {}.", "{} \nThat is it."])
def test_an_answer_may_be_said_as_the_thing_is_called(extra):
    world = Fictional(split="test")
    forms = set()
    for seed in range(world.size("test")):
        world.reset(seed=seed)
        for form in accepted_answers(world.current.answer):
            assert world.regrade(seed, f"Answer: {extra.replace('{}', form)}").success
            forms.add(re.sub(r"[A-Z]\w+|\d+", "_", form))
    assert {"_", "_ _", "the _ guild", "the river _", "mount _", "_ feet", "_ miles"} <= forms


def test_one_seed_is_one_environment_on_every_machine_and_another_seed_another():
    code = (
        "from envs.search.fictional import Fictional; print(Fictional(world_seed=3).fingerprint())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert printed == {Fictional(world_seed=3).fingerprint()}
    assert Fictional(world_seed=3).fingerprint() != Fictional(world_seed=4).fingerprint()


def test_environments_of_one_family_differ_in_their_seed_only():
    first, second = Fictional(world_seed=1), Fictional(world_seed=2)
    assert (first.family, first.system_prompt) == (second.family, second.system_prompt)
    assert first.family_fingerprint() == second.family_fingerprint()
    for other in ({"hops": 2}, {"results": 3}, {"rounds": 4}, {"passage_characters": 200}):
        assert Fictional(**other).family_fingerprint() != first.family_fingerprint()


def test_an_episode_fits_a_context_of_1024_tokens():
    world, longest = Fictional(split="test"), 0
    for seed in range(world.size("test")):
        said, _ = world.reset(seed=seed)
        texts = [world.system_prompt, said]
        over = False
        while not over:
            texts.append(world.oracle())
            said, _, terminated, truncated, _ = world.step(texts[-1])
            texts.append(said)
            over = terminated or truncated
        longest = max(longest, sum(map(len, texts)))
    assert longest < 2600  # at 2.6 characters a token, which invented names cost, 1,000 tokens


def test_what_is_not_searched_for_cannot_be_known():
    world = Fictional(split="test")
    guesses = Counter(world.problem("train", i).answer for i in range(world.size("train")))
    guess = accepted_answers(guesses.most_common(1)[0][0])[0]
    right = [world.regrade(s, f"Answer: {guess}").success for s in range(world.size("test"))]
    assert sum(right) == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"world_seed": -1}, "world_seed must be"),
        ({"world_seed": True}, "world_seed must be"),
        ({"hops": 4}, "hops must be a whole number from 1 to 3, not 4"),
        ({"split": "dev"}, "no split 'dev'"),
    ],
)
def test_options_out_of_range_are_refused(options, reason):
    with pytest.raises(EnvError, match=reason):
        Fictional(**options)


@pytest.mark.parametrize("split", SPLITS)
def test_gymnasiums_checker_has_nothing_to_say_of_an_invented_environment(split, monkeypatch):
    spec = EnvSpec("tests/Fictional-v0", entry_point="envs.search.fictional:Fictional")
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    world = gymnasium.make(spec.id, disable_env_checker=True, split=split)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(world.unwrapped)


def test_a_thousand_environments_are_one_corpus_and_one_index():
    worlds = [Fictional(world_seed=5) for _ in range(1024)]
    assert len({id(w.corpus) for w in worlds}) == len({id(w._retriever) for w in worlds}) == 1
    assert draw_questions.cache_info().currsize <= 16
