"""What is checked of a run, one function a contract clause; each says ok, bad or unknown, and why."""

from __future__ import annotations

from replicast.sim.history import History
from replicast.sim.linearizability import check
from replicast.sim.models import NAME
from replicast.sim.search import Verdict
from replicast.sim.versions import check_versions, current_operations

OK, BAD, UNKNOWN = "ok", "bad", "unknown"
VERDICTS = {Verdict.OK: OK, Verdict.BAD: BAD, Verdict.UNKNOWN: UNKNOWN}


def check_history(history: History) -> tuple[str, list[str]]:
    """C2 to C4: every name is linearizable, LIST name by name; no version is lost or made twice."""
    operations = history.operations()
    wrong = check_versions(operations)
    if wrong:
        return BAD, wrong
    checked = check(current_operations(operations), NAME)
    problems = [str(checked.explanation)] if checked.explanation is not None else []
    if checked.verdict is Verdict.UNKNOWN:
        problems.append(f"{checked.key}: linearizability undecided after {checked.steps} steps")
    return VERDICTS[checked.verdict], problems
