"""Are histories linearizable? The checker, and a command that prints a verdict a file.

    verdict = check(operations, NAME)        each key by itself: names are independent objects
    python -m replicast.sim.linearizability FILE...

A verdict is OK, BAD or UNKNOWN. BAD comes with the key and an explanation: the longest
linearizable prefix in an order that the model allows, and the operations that no order places
after it. UNKNOWN: the budget, counted in steps and never in time, ended before the search.

The command reads Jepsen's text form and EDN maps (replicast/sim/published.py) and our JSON lines
(replicast/sim/history.py), told apart by their first line. Exit status: 0 all linearizable, 1 some
not, 3 some unknown, 2 some file malformed or unreadable; of several, 2 before 1 before 3.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from replicast.sim.history import History, MalformedHistory, Operation, load
from replicast.sim.models import MODELS, Model, expand_lists
from replicast.sim.published import load_edn, load_jepsen_log
from replicast.sim.search import Verdict, find_order

BUDGET_STEPS = 2_000_000  # of one key; seconds, and a few hundred MB at most
EXPLAINED_MAX = 12  # operations shown of the prefix, the last ones
EXIT = {Verdict.OK: 0, Verdict.BAD: 1, Verdict.UNKNOWN: 3}
EXIT_MALFORMED = 2
ERROR_LENGTH_MAX = 300


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the operations of one key fit no order.

    `prefix`: the longest linearizable beginning, in an order that the model allows. `stuck`: what
    cannot be placed with it; the first is the one whose answer fits no order of what was known by
    then, the others ran at the same time and are not in the prefix.
    """

    key: str
    prefix: tuple[Operation, ...]
    stuck: tuple[Operation, ...]

    def __str__(self) -> str:
        shown = self.prefix[-EXPLAINED_MAX:]
        before = len(self.prefix) - len(shown)
        lines = [f"{self.key}: fits no order. This much does:"]
        lines += [f"  ({before} before)"] if before else []
        lines += [f"  {operation}" for operation in shown] or ["  (nothing)"]
        due, *running = (f"  {operation}" for operation in self.stuck)
        lines += ["then no place is left for", due]
        lines += ["while these ran, of which any or none may have taken effect:"] if running else []
        lines += running
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdict on a history. `key` is the first bad one, else the first unknown one."""

    verdict: Verdict
    key: str | None = None
    explanation: Explanation | None = None
    steps: int = 0


def check(
    operations: Iterable[Operation], model: Model, *, budget_steps: int = BUDGET_STEPS
) -> Checked:
    """Is the history of every key linearizable? `budget_steps` is for each key.

    LIST operations are expanded over all keys of the history. Raises MalformedHistory for what is
    no operation of the model.
    """
    steps, unknown = 0, None
    for key, mine in sorted(_by_key(operations, model).items()):
        found = find_order(model, mine, budget_steps)
        steps += found.steps
        if found.verdict is Verdict.BAD:
            return Checked(found.verdict, key, _explain(key, model, mine, budget_steps), steps)
        if found.verdict is Verdict.UNKNOWN and unknown is None:
            unknown = key
    return Checked(Verdict.UNKNOWN if unknown is not None else Verdict.OK, unknown, None, steps)


def _by_key(operations: Iterable[Operation], model: Model) -> dict[str, list[Operation]]:
    given = list(operations)
    if "exists" in model.kinds:
        given = expand_lists(given, (one.key for one in given if one.kind != "list"))
    keys: dict[str, list[Operation]] = {}
    for operation in given:
        problem = model.problem(operation)
        if problem is not None:
            raise MalformedHistory(f"{operation.key}: {problem}: {operation}")
        keys.setdefault(operation.key, []).append(operation)
    return keys


def _explain(key: str, model: Model, operations: list[Operation], budget: int) -> Explanation:
    """Halves the distance between a beginning that fits some order and one that fits none.

    A beginning of a history ends with a return; what runs then has an unknown outcome. A search
    that its budget ends counts as fitting: so what is called stuck is so for certain.
    """
    returns = sorted(one.return_ns for one in operations if one.return_ns is not None)
    fits, fails = 0, len(returns)
    prefix: tuple[Operation, ...] = ()
    while fails - fits > 1:
        middle = (fits + fails) // 2
        beginning = _until(operations, returns[middle - 1])
        found = find_order(model, beginning, budget)
        if found.verdict is Verdict.BAD:
            fails = middle
            continue
        fits = middle
        if found.verdict is Verdict.OK:
            prefix = tuple(found.order)
    end_ns = returns[fails - 1]
    placed = {(one.client, one.call_ns) for one in prefix}
    running = [
        one
        for one in _until(operations, end_ns)
        if one.return_ns != end_ns and (one.client, one.call_ns) not in placed
    ]
    due = [one for one in operations if one.return_ns == end_ns]
    return Explanation(key, prefix, (*due, *running))


def _until(operations: list[Operation], end_ns: int) -> list[Operation]:
    """What was known of these operations at end_ns."""
    return [
        one
        if one.return_ns is None or one.return_ns <= end_ns
        else replace(one, result=None, return_ns=None)
        for one in operations
        if one.call_ns <= end_ns
    ]


def read_history(text: str) -> History:
    """A history in any of the known forms. Raises MalformedHistory."""
    start = text.lstrip()
    if not start:
        raise MalformedHistory("no history: the file is empty")
    if start.startswith('{"'):
        return load(text)
    if start[0] in "{[(#;":
        return load_edn(text)
    return load_jepsen_log(text)


def check_text(text: str, budget_steps: int = BUDGET_STEPS) -> Checked:
    """The verdict on a history in any of the known forms. Raises MalformedHistory."""
    history = read_history(text)
    if history.model not in MODELS:
        raise MalformedHistory(f"line 1: no model is called {history.model!r}")
    return check(history.operations(), MODELS[history.model], budget_steps=budget_steps)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m replicast.sim.linearizability",
        description="Prints for each history whether it is linearizable.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--explain", action="store_true", help="say why not, on standard error")
    parser.add_argument(
        "--budget", type=int, default=BUDGET_STEPS, metavar="STEPS", help="of each key"
    )
    given = parser.parse_args(arguments)
    verdicts, malformed = set(), False
    for name in given.files:
        try:
            checked = check_text(Path(name).read_text("utf-8"), given.budget)
        except (MalformedHistory, OSError, UnicodeDecodeError) as error:
            print(f"{name}: {_one_line(error)}", file=sys.stderr)
            malformed = True
            continue
        verdicts.add(checked.verdict)
        print(f"{name}: {checked.verdict.value}", flush=True)
        if given.explain and checked.explanation is not None:
            print(checked.explanation, file=sys.stderr)
    if malformed:
        return EXIT_MALFORMED
    worst = next((v for v in (Verdict.BAD, Verdict.UNKNOWN) if v in verdicts), Verdict.OK)
    return EXIT[worst]


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return " ".join(str(error).split())[:ERROR_LENGTH_MAX]


if __name__ == "__main__":
    sys.exit(main())
