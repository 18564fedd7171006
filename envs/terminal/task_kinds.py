"""The kinds of shell tasks that are made here: find, count, transform, repair.

A kind takes a random generator and gives a task with everything that decides about it: what the
agent is told and finds, the hidden check, and a solution in portable shell. A check never runs what
the agent made; where running it is the point there is a trial (see envs.containers.judging).
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from envs.containers.archive import File, FileTree
from envs.containers.judging import HiddenCheck

_SOUNDS = ("ba", "co", "di", "fe", "gu", "ha", "ki", "lo", "mu", "ne", "po", "ra", "si", "tu", "ve")
_EXTENSIONS = ("cfg", "csv", "dat", "list", "log", "md", "note", "tmp", "txt")


@dataclass(frozen=True, slots=True)
class TaskDraft:
    """A task without a name: instruction, files, hidden check and a solution."""

    instruction: str
    tree: FileTree
    hidden_check: HiddenCheck
    solution: str


Kind = Callable[[random.Random], TaskDraft]


def word(rng: random.Random, sounds: int = 3) -> str:
    """An invented word."""
    return "".join(rng.choice(_SOUNDS) for _ in range(sounds))


def words(rng: random.Random, count: int) -> list[str]:
    """Different invented words."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[word(rng)] = None
    return list(found)


def text(lines: Iterable[str]) -> File:
    """A text file."""
    return File("".join(f"{line}\n" for line in lines).encode())


def expects_lines(name: str, lines: Iterable[str]) -> HiddenCheck:
    """The file `name` must hold these lines; blank lines, space at line ends and the way a path
    starts do not matter.
    """
    check = f"""
[ -f {name} ] || {{ echo "There is no file {name}."; exit 1; }}
tr -d '\\r' < {name} |
  sed -e 's/[[:space:]]*$//' -e '/^$/d' -e 's#^\\./##' -e 's#^/work/##' > /tmp/got
cmp -s /tmp/got "$CHECK/expected" || {{ echo "{name} does not hold what was asked for."; exit 1; }}
exit 0
"""
    return HiddenCheck(check, {"expected": text(lines)})


def expects_tree(after: Mapping[str, File], gone: Iterable[str] = ()) -> HiddenCheck:
    """These files must be there with exactly this content, those of `gone` must not."""
    # The loop runs in a subshell of the pipe: exit ends that alone, and || exit 1 passes it on.
    check = """
cd "$CHECK/tree" || exit 3
find . -type f | while read -r file; do
  [ -f "/work/$file" ] || { echo "There is no file ${file#./}."; exit 1; }
  cmp -s "$file" "/work/$file" || { echo "${file#./} is not as it should be."; exit 1; }
done || exit 1
while read -r file; do
  [ -e "/work/$file" ] && { echo "$file is still there."; exit 1; }
done < "$CHECK/gone"
exit 0
"""
    files = {f"tree/{path}": file for path, file in after.items()}
    return HiddenCheck(check, files | {"gone": text(gone)})


def _prose(rng: random.Random, pool: list[str], lines: int) -> list[str]:
    return [" ".join(rng.choices(pool, k=rng.randint(3, 8))) for _ in range(lines)]


def _places(rng: random.Random, count: int) -> list[str]:
    """Different paths without an extension, in nested folders."""
    tops, below = words(rng, 3), words(rng, 3)
    folders = [*tops, *(f"{top}/{name}" for top in tops for name in below)]
    return [f"{rng.choice(folders)}/{name}" for name in words(rng, count)]


def find_word(rng: random.Random) -> TaskDraft:
    """Find the file that holds a word."""
    code, *pool = words(rng, 30)
    paths = [f"{place}.{rng.choice(_EXTENSIONS)}" for place in _places(rng, rng.randint(6, 14))]
    bodies = {path: _prose(rng, pool, rng.randint(4, 20)) for path in paths}
    chosen = rng.choice(paths)
    line = rng.randrange(len(bodies[chosen]))
    bodies[chosen][line] += f" {code}"
    return TaskDraft(
        f"Exactly one file below /work holds the word {code}. Write its path to answer.txt.",
        FileTree({path: text(lines) for path, lines in bodies.items()}),
        expects_lines("answer.txt", [chosen]),
        # By way of /tmp: the shell makes answer.txt before grep starts, which would then read it
        # too.
        f"grep -rlw {code} . > /tmp/found; cp /tmp/found answer.txt",
    )


def find_largest(rng: random.Random) -> TaskDraft:
    """Find the largest file."""
    paths = [f"{place}.dat" for place in _places(rng, rng.randint(5, 12))]
    # Drawn without repetition: one file alone is the largest.
    sizes = rng.sample(range(10, 3000), len(paths))
    letters = {path: rng.choice("abcdef") for path in paths}
    tree = FileTree(
        {p: File((letters[p] * size).encode()) for p, size in zip(paths, sizes, strict=True)}
    )
    largest = paths[sizes.index(max(sizes))]
    return TaskDraft(
        "Which file below /work has the most bytes? Write its path to answer.txt.",
        tree,
        expects_lines("answer.txt", [largest]),
        # By way of /tmp: answer.txt must not be among the files that are measured.
        "find . -type f -exec wc -c {} + | grep -v ' total$' | sort -n | tail -n 1"
        " | sed 's/^ *[0-9]* //' > /tmp/found; cp /tmp/found answer.txt",
    )


def find_list(rng: random.Random) -> TaskDraft:
    """List the files with an extension."""
    asked, *others = rng.sample(_EXTENSIONS, 4)
    places = _places(rng, rng.randint(8, 16))
    wanted = rng.randint(2, 5)
    endings = [asked] * wanted + [rng.choice(others) for _ in places[wanted:]]
    paths = [f"{place}.{ending}" for place, ending in zip(places, endings, strict=True)]
    pool = words(rng, 10)
    return TaskDraft(
        f"List the paths of all files below /work whose name ends in .{asked}, one a line and "
        "sorted, in list.out. Paths start below /work, without ./ in front.",
        FileTree({path: text(_prose(rng, pool, 2)) for path in paths}),
        expects_lines("list.out", sorted(p for p in paths if p.endswith(f".{asked}"))),
        f"find . -name '*.{asked}' | sed 's#^./##' | LC_ALL=C sort > list.out",
    )


def count_lines(rng: random.Random) -> TaskDraft:
    """Count the lines of a log of one service and one level."""
    services, levels = words(rng, 3), ("INFO", "WARN", "ERROR")
    rows = [
        f"{rng.randrange(24):02}:{rng.randrange(60):02} {rng.choice(levels)} {rng.choice(services)}"
        f" {word(rng)}"
        for _ in range(rng.randint(40, 120))
    ]
    level, service = rng.choice(levels), rng.choice(services)
    count = sum(f" {level} {service} " in row for row in rows)
    name = f"{word(rng)}.log"
    return TaskDraft(
        f"How many lines of {name} have level {level} and service {service}? Write the number to "
        "answer.txt.",
        FileTree({name: text(rows)}),
        expects_lines("answer.txt", [str(count)]),
        # grep ends with status 1 where it counts none, which may be the right answer.
        f"grep -c ' {level} {service} ' {name} > answer.txt; true",
    )


def _table(rng: random.Random) -> tuple[list[str], list[tuple[str, str, int]]]:
    """Cities, and rows of (name, city, amount) with different names."""
    cities = words(rng, rng.randint(3, 5))
    people = words(rng, rng.randint(15, 40))
    return cities, [(name, rng.choice(cities), rng.randrange(1, 500)) for name in people]


def _csv(rows: Iterable[tuple[object, ...]]) -> File:
    return text(",".join(map(str, row)) for row in rows)


def sum_column(rng: random.Random) -> TaskDraft:
    """Sum the amounts of one city."""
    cities, rows = _table(rng)
    city, name = rng.choice(cities), f"{word(rng)}.csv"
    total = sum(amount for _, where, amount in rows if where == city)
    return TaskDraft(
        f"{name} has the columns name, city and amount. Write the sum of the amounts of {city} to "
        "answer.txt.",
        FileTree({name: _csv([("name", "city", "amount"), *rows])}),
        expects_lines("answer.txt", [str(total)]),
        # s + 0 prints 0 where no row fits; s alone would print nothing.
        f"awk -F, '$2 == \"{city}\" {{ s += $3 }} END {{ print s + 0 }}' {name} > answer.txt",
    )


def distinct(rng: random.Random) -> TaskDraft:
    """Count the different users."""
    users = words(rng, rng.randint(5, 20))
    rows = [f"{rng.choice(users)} {rng.choice(('GET', 'PUT'))} /{word(rng, 2)}" for _ in range(60)]
    name = f"{word(rng)}.log"
    return TaskDraft(
        f"The first word of every line of {name} is a user. How many different users are there? "
        "Write the number to answer.txt.",
        FileTree({name: text(rows)}),
        expects_lines("answer.txt", [str(len({row.split()[0] for row in rows}))]),
        f"cut -d ' ' -f 1 {name} | sort -u | wc -l > answer.txt",
    )


def sort_unique(rng: random.Random) -> TaskDraft:
    """Numbers in order, none twice."""
    numbers = [rng.randrange(1, 2000) for _ in range(rng.randint(20, 60))]
    # Some stand twice for certain, or sorting alone might be right.
    numbers += rng.sample(numbers, 5)
    name = f"{word(rng)}.txt"
    downwards = rng.random() < 0.5
    order = "largest first" if downwards else "smallest first"
    return TaskDraft(
        f"Write the numbers of {name} to sorted.txt, {order}, every number once.",
        FileTree({name: text(map(str, numbers))}),
        expects_lines("sorted.txt", map(str, sorted(set(numbers), reverse=downwards))),
        f"sort -n {'-r ' if downwards else ''}-u {name} > sorted.txt",
    )


def columns(rng: random.Random) -> TaskDraft:
    """Some columns of a table in another order and sorted."""
    _, rows = _table(rng)
    name = f"{word(rng)}.csv"
    return TaskDraft(
        f"{name} has the columns name, city and amount and no header. Write a line city:name for "
        "every row to out.txt, sorted alphabetically.",
        FileTree({name: _csv(rows)}),
        expects_lines("out.txt", sorted(f"{city}:{who}" for who, city, _ in rows)),
        f"awk -F, '{{ print $2 \":\" $1 }}' {name} | LC_ALL=C sort > out.txt",
    )


def replace_word(rng: random.Random) -> TaskDraft:
    """One word for another in all text files, and in no others."""
    old, new, *pool = words(rng, 14)
    paths = [f"{place}.{rng.choice(('txt', 'md'))}" for place in _places(rng, rng.randint(4, 8))]
    paths.append(f"{word(rng)}.txt")
    before = {path: _prose(rng, [*pool, old, old], rng.randint(3, 9)) for path in paths}
    # One .txt file holds the word for certain, or doing nothing might be right.
    before[paths[-1]].append(old)
    after = {
        # All words have six letters, so none is part of another.
        path: [line.replace(old, new) if path.endswith(".txt") else line for line in lines]
        for path, lines in before.items()
    }
    return TaskDraft(
        f"In every file below /work whose name ends in .txt, replace the word {old} by {new} "
        "wherever it stands. Leave all other files as they are.",
        FileTree({path: text(lines) for path, lines in before.items()}),
        expects_tree({path: text(lines) for path, lines in after.items()}),
        f"find . -name '*.txt' -exec sed -i 's/{old}/{new}/g' {{}} +",
    )


def rename(rng: random.Random) -> TaskDraft:
    """Another extension for all files of one."""
    old, new, other = rng.sample(_EXTENSIONS, 3)
    folder, pool = word(rng), words(rng, 12)
    names = words(rng, rng.randint(5, 9))
    contents = {f"{folder}/{name}.{old}": text(_prose(rng, pool, 3)) for name in names}
    kept = {f"{folder}/{name}.{other}": text(_prose(rng, pool, 3)) for name in words(rng, 3)}
    after = {f"{path.removesuffix(old)}{new}": file for path, file in contents.items()}
    return TaskDraft(
        f"In the folder {folder}, rename every file that ends in .{old} so that it ends in .{new} "
        "instead. Change nothing else.",
        FileTree(contents | kept),
        expects_tree(after | kept, sorted(contents)),
        f'for f in {folder}/*.{old}; do mv "$f" "${{f%.{old}}}.{new}"; done',
    )


def config(rng: random.Random) -> TaskDraft:
    """One setting of one section, which other sections have too."""
    sections, keys = words(rng, 3), words(rng, 4)
    values = {(s, k): rng.randrange(1, 9000) for s in sections for k in keys}
    section, key = rng.choice(sections), rng.choice(keys)
    # Above every value drawn before: the setting has to change.
    wanted = rng.randrange(9000, 9999)

    def written(of: Mapping[tuple[str, str], int]) -> File:
        lines = [
            line for s in sections for line in (f"[{s}]", *(f"{k} = {of[s, k]}" for k in keys), "")
        ]
        return text(lines)

    name = f"{word(rng)}.ini"
    return TaskDraft(
        f"In the section [{section}] of {name}, set {key} to {wanted}. Keep the form key = value "
        "and change no other line.",
        FileTree({name: written(values)}),
        expects_tree({name: written(values | {(section, key): wanted})}),
        f"sed -i '/^\\[{section}\\]/,/^$/ s/^{key} = .*/{key} = {wanted}/' {name}",
    )
