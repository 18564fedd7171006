import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from envs.grading.boxed_answer import last_boxed
from envs.grading.pool import Grader, grader_version
from envs.grading.selftest import selftest
from envs.verdict import Verdict

RIGHT = [
    ("\\boxed{2}", "2"),
    ("a \\boxed{3} then \\boxed{ 2 }.", "2"),
    ("\\boxed{\\boxed{2}}", "2"),
    ("\\boxed {2}", "2"),
    ("$$\\boxed{\n2\n}$$", "2"),
    ("\\boxed{x = 2}", "2"),
    ("\\boxed{2^\\circ}", "2"),
    ("\\boxed{28,357,376}", "28357376"),
    ("\\boxed{28\\,357\\,376}", "28357376"),
    ("\\boxed{0.5}", "\\frac{1}{2}"),
    ("\\boxed{\\frac{\\sqrt{570}}{12}}", "\\sqrt{\\frac{95}{24}}"),
    ("\\boxed{(-13/96, 13/40)}", "\\left(-\\frac{13}{96}, \\frac{13}{40}\\right)"),
    (
        "\\boxed{\\frac{-1\\pm\\sqrt{17}}{2}}",
        "\\frac{-1+\\sqrt{17}}{2}, \\frac{-1-\\sqrt{17}}{2}",
    ),
    ("\\boxed{\\frac{(100!)^2}{5}}", "\\frac{100!^{2}}{5}"),
    ("x" * 100_000 + "\\boxed{2}", "2"),
    ("\\boxed{3}" * 10_000 + "\\boxed{2}", "2"),
    ("λ中🙂 \\boxed{2} 🙂", "2"),
    ("\\boxed{２}", "2"),  # a digit in full width is that digit
    ("\\boxed{2}, which stands in \\boxed{} as asked", "2"),
    ("<think>\\boxed{3}</think> \\boxed{2}", "2"),
]
WRONG = [
    ("2", "2"),
    ("", "2"),
    ("The answer is 2.", "2"),
    ("\\boxed{}", "2"),
    ("\\boxed{ }", "2"),
    ("\\boxed{2", "2"),
    ("\\boxed{2} \\boxed{", "2"),
    ("\\boxed{2} but \\boxed{3}", "2"),
    ("<think>\\boxed{2}</think> I am not sure.", "2"),
    ("<think>so it is \\boxed{2}", "2"),
    ("\\boxed{1,2,3}", "2"),
    ("\\boxed{\\{1, 2\\}}", "2"),
    ("\\boxed{2 \\text{ or } 3}", "2"),
    ("\\boxed{1}\\boxed{2}\\boxed{3}", "2"),
    ("\\boxed{\\pm 2}", "2"),
    ("\\boxed{[0, 100]}", "2"),
    ("\\boxed{\\mathbb{R}}", "2"),
    ("\\boxed{x}", "2"),
    ("\\boxed{\\text{everything}}", "2"),
    ("\\boxed{everything}", "2"),
    ("\\boxed{\\infty}", "2"),
    ("\\boxed{\\frac{0}{0}}", "2"),
    ("\\boxed{٢}", "2"),
    ("\\boxed{\ud800}", "2"),
    ("\\boxed{" + "2" * 100_000 + "}", "2"),
    ("\\boxed{" + "{" * 140 + "2" + "}" * 140 + "}", "2"),
    ("\\boxed{" * 15_000, "2"),
    ("\\boxed{0,i\\sqrt{6}}", "0,i\\sqrt{6},-i\\sqrt{6}"),
    (
        "\\boxed{(\\frac{13}{40}, -\\frac{13}{96})}",
        "\\left(-\\frac{13}{96}, \\frac{13}{40}\\right)",
    ),
    ("\\boxed{__import__('os').system('true')}", "2"),
]


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=2) as pool:
        yield pool


@pytest.mark.parametrize(("reply", "answer"), RIGHT)
def test_right_answers(grader, reply, answer):
    assert grader.grade(reply, answer) == Verdict.right()


@pytest.mark.parametrize(("reply", "answer"), WRONG)
def test_wrong_and_malformed_answers_and_lists_of_guesses(grader, reply, answer):
    verdict = grader.grade(reply, answer)
    assert (verdict.outcome, verdict.reward, verdict.success) == ("scored", 0.0, False)
    assert verdict.feedback.startswith("Wrong: ")


def test_the_feedback_says_why_the_format_failed(grader):
    assert "must stand in \\boxed" in grader.grade("2", "2").feedback
    assert "empty" in grader.grade("\\boxed{}", "2").feedback
    assert "cannot be read" in grader.grade("\\boxed{\\sin}", "2").feedback
    assert "over 300 characters" in grader.grade("\\boxed{" + "1" * 301 + "}", "2").feedback
    assert "nests over 10 brackets" in grader.grade("\\boxed{" + "(" * 11 + "}", "2").feedback
    assert "does not equal" in grader.grade("\\boxed{3}", "2").feedback


@pytest.mark.parametrize(
    ("reply", "box"),
    [
        ("\\boxed{a}", "a"),
        ("\\boxed{a} \\boxed{b}", "b"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1\\}}", "\\{1\\}"),
        ("\\boxed{a\\}b}", "a\\}b"),
        ("\\boxed{\\boxed{a}}", "a"),
        ("\\boxed{a, \\boxed{b}}", "a, \\boxed{b}"),
        ("\\boxed{a, \\boxed{b}", "b"),
        ("} \\boxed{a} {", "a"),
        ("\\\\boxed{a}", "a"),
        ("\\boxed{a\n  b}", "a b"),
        ("\\boxed{}", ""),
        ("\\boxed{a", None),
        ("\\boxed a", None),
        ("\\fbox{a}", None),
        ("boxed{a}", None),
        ("", None),
    ],
)
def test_the_last_box(reply, box):
    assert last_boxed(reply) == box


def test_a_job_that_never_ends_is_wrong_after_two_tries_and_the_next_answer_is_judged(grader):
    began = time.monotonic()
    verdict = grader.endless(0.3)
    assert time.monotonic() - began < 20.0
    assert (verdict.outcome, verdict.reward, verdict.hung) == ("scored", 0.0, True)
    assert verdict.feedback == (
        "Wrong: what is boxed cannot be judged: it took over 0.3 s of CPU, twice."
    )
    assert grader.grade("\\boxed{2}", "2") == Verdict.right()


def test_the_selftest_finds_nothing_wrong_with_the_real_grader(grader):
    assert selftest(grader) == []


def test_the_selftest_names_what_a_bad_grader_misjudges(grader):
    class Generous(Grader):
        def grade(self, reply, answer, deadline=None):
            return Verdict.right()

        def endless(self, deadline):
            return Verdict.unscored("it was killed")

    with Generous() as generous:
        failures = selftest(generous)
    assert {f.expected for f in failures} == {"wrong"}
    assert "should be wrong, but is right (Right.)" in str(failures[0])
    assert "never ends" in failures[-1].reply


def test_verdicts_are_the_same_in_main_thread_worker_thread_and_another_process(grader):
    cases = [*RIGHT[:8], *WRONG[:12]]
    main = [grader.grade(*case).reward for case in cases]
    with ThreadPoolExecutor(4) as threads:
        threaded = list(threads.map(lambda case: grader.grade(*case).reward, cases))
    code = (
        "import threading\n"
        "from envs.grading.pool import Grader\n"
        f"cases, found = {cases!r}, []\n"
        "def work():\n"
        "    with Grader() as g: found.extend(g.grade(*c).reward for c in cases)\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join(); print(found)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert main == threaded == [1.0] * 8 + [0.0] * 12
    assert run.stdout.strip() == str(main)


def test_nothing_of_a_reply_is_ever_compiled_or_run():
    code = (
        "import sys\n"
        "from envs.grading.worker import make_judge\n"
        "judge = make_judge()\n"
        "judge({'box': '2+0', 'answer': '2'})\n"
        "seen = []\n"
        "def audit(event, args):\n"
        "    if event in ('compile', 'exec', 'os.system', 'subprocess.Popen', 'import'):\n"
        "        seen.append((event, str(args[0])[:300]))\n"
        "sys.addaudithook(audit)\n"
        "for box in ('marker', 'marker(1)', '2+marker', '\\\\text{marker}', 'marker=2',\n"
        "            '__import__(marker)', '\\\\operatorname{marker}(2)', '\"marker\"',\n"
        "            'lambda marker: 2', 'marker_{2}', '[marker for marker in (2,)]'):\n"
        "    judge({'box': box, 'answer': '2'})\n"
        "print([s for s in seen if 'marker' in s[1] or s[0].startswith(('os', 'sub'))])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.strip() == "[]"


def test_the_graders_version_names_the_rule_and_the_libraries():
    rule, *libraries = grader_version().split("/")
    assert rule == "boxed-3"
    assert [part.rsplit("-", 1)[0] for part in libraries] == ["mpmath"]
    assert "missing" not in grader_version()
