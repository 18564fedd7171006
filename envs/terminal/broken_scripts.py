"""Small shell scripts with one mistake each, to be repaired: the kind of task that has a trial.

What the repaired script prints for inputs the agent never sees is compared with what it should.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from envs.containers.archive import File, FileTree
from envs.containers.judging import HiddenCheck
from envs.terminal.task_kinds import TaskDraft, text, word

_INPUTS = 4


@dataclass(frozen=True, slots=True)
class Script:
    """A script over lines of whole numbers: its purpose, its code, and possible mistakes.

    A mistake is (what stands in the right script, what stands in the broken one).
    """

    purpose: str
    right: str
    mistakes: tuple[tuple[str, str], ...]
    answer: Callable[[Sequence[int], int], Sequence[int]]


SCRIPTS = (
    Script(
        "print the sum of all numbers plus {k}",
        "total={k}\nwhile read -r n; do\n  total=$((total + n))\ndone\necho $total\n",
        (("total + n", "total - n"), ("total={k}", "total=0"), ("total=$((total", "n=$((total")),
        lambda numbers, k: [sum(numbers) + k],
    ),
    Script(
        "print the largest number",
        'most=\nwhile read -r n; do\n  if [ -z "$most" ] || [ "$n" -gt "$most" ]; then\n'
        "    most=$n\n  fi\ndone\necho $most\n",
        (("-gt", "-lt"), ("most=$n", "n=$most"), ('|| [ "$n"', '&& [ "$n"')),
        lambda numbers, k: [max(numbers)],
    ),
    Script(
        "print how many numbers are greater than {k}",
        'count=0\nwhile read -r n; do\n  if [ "$n" -gt {k} ]; then\n    count=$((count + 1))\n'
        "  fi\ndone\necho $count\n",
        (("-gt", "-ge"), ("count + 1", "count + n"), ("count=0", "count=1")),
        lambda numbers, k: [sum(n > k for n in numbers)],
    ),
    Script(
        "print the even numbers, each times {k}, in the order they come",
        "while read -r n; do\n  if [ $((n % 2)) -eq 0 ]; then\n    echo $((n * {k}))\n  fi\ndone\n",
        (("-eq 0", "-eq 1"), ("n * {k}", "n + {k}"), ("n % 2", "n / 2")),
        lambda numbers, k: [n * k for n in numbers if n % 2 == 0],
    ),
    Script(
        "print the numbers from the smallest to the largest, without those smaller than {k}",
        'sort -n | while read -r n; do\n  [ "$n" -ge {k} ] && echo $n\ndone\ntrue\n',
        (("sort -n", "sort -rn"), ("-ge", "-le"), ("sort -n", "sort")),
        lambda numbers, k: sorted(n for n in numbers if n >= k),
    ),
)

# A broken script may print without end: head reads 4000 bytes and closes the pipe.
_TRIAL = """
for input in "$TRIAL"/*.in; do
  sh ./{name} < "$input" 2>/dev/null | head -c 4000
  echo ---
done
"""
_CHECK = """
[ -f {name} ] || {{ echo "There is no file {name}."; exit 1; }}
cmp -s "$CHECK/trial.out" "$CHECK/expected" && exit 0
[ "$(cat "$CHECK/trial.status")" = 124 ] && {{ echo "{name} does not come to an end."; exit 1; }}
echo "{name} does not print what it should for some input."
exit 1
"""


def script(rng: random.Random) -> TaskDraft:
    """Find the mistake in a small script."""
    template, k = rng.choice(SCRIPTS), rng.randrange(2, 60)
    good, bad = rng.choice(template.mistakes)
    fill = str(k)
    right = template.right.replace("{k}", fill)
    # The mistakes are written with {k} in them, so k is filled in last.
    broken = template.right.replace(good, bad, 1).replace("{k}", fill)
    name = f"{word(rng)}.sh"
    # Around k, with k itself and a multi-digit mix: every mistake shows on one of these.
    inputs = [
        [k, k - 1, k + 1, *(rng.randrange(0, 300) for _ in range(rng.randint(5, 12)))]
        for _ in range(_INPUTS)
    ]
    for numbers in inputs:
        rng.shuffle(numbers)
    expected = [line for n in inputs for line in [*map(str, template.answer(n, k)), "---"]]
    shown = [rng.randrange(0, 300) for _ in range(6)]
    return TaskDraft(
        f"{name} should read whole numbers from standard input, one a line, and "
        f"{template.purpose.replace('{k}', fill)}. It has a mistake; repair it. sample.in is an "
        f"input to try it with: sh {name} < sample.in",
        FileTree({name: File(broken.encode()), "sample.in": text(map(str, shown))}),
        HiddenCheck(
            check=_CHECK.format(name=name),
            files={"expected": text(expected)},
            trial=_TRIAL.format(name=name),
            trial_files={
                f"{number}.in": text(map(str, numbers)) for number, numbers in enumerate(inputs)
            },
        ),
        f"cat > {name} <<'END'\n{right}END",
    )
