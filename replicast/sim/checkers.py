"""What is checked of a run, one function a contract clause; each says ok, bad or unknown, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from replicast.sim.history import History, MalformedHistory, Operation
from replicast.sim.linearizability import check
from replicast.sim.models import NAME
from replicast.sim.search import Verdict
from replicast.sim.uploads import as_puts, check_uploads
from replicast.sim.versions import check_versions, current_operations

OK, BAD, UNKNOWN = "ok", "bad", "unknown"
OPERATOR = 998  # the number under which the operator reads, after repair
VERDICTS = {Verdict.OK: OK, Verdict.BAD: BAD, Verdict.UNKNOWN: UNKNOWN}


def check_linearizable(history: History) -> tuple[str, list[str]]:
    """C2 to C4: every name is linearizable, LIST name by name; no version is lost or made twice."""
    told = history.operations()
    operations = as_puts(told)
    wrong = check_versions(operations) + check_uploads(told)
    return (BAD, wrong) if wrong else _judge(current_operations(operations))


def check_writes(history: History) -> tuple[str, list[str]]:
    """C1, C2 of names: acknowledged writes and what is there in the end are linearizable.

    What clients read meanwhile, and refusals, which follow from a read, are left out: where
    clocks are off by more than the lease margin nothing keeps them from being stale.
    """
    kept = [o for o in as_puts(history.operations()) if _is_write(o) or o.client == OPERATOR]
    wrong = check_versions(kept)
    return (BAD, wrong) if wrong else _judge(current_operations(kept))


def _is_write(operation: Operation) -> bool:
    reads = ("get", "head", "list", "get_version", "versions")
    return operation.kind not in reads and operation.result != "refused"


def _judge(operations: Sequence[Operation]) -> tuple[str, list[str]]:
    try:
        checked = check(operations, NAME)
    except MalformedHistory as error:  # an answer that this operation cannot have
        return BAD, [str(error)]
    problems = [str(checked.explanation)] if checked.explanation is not None else []
    if checked.verdict is Verdict.UNKNOWN:
        problems.append(f"{checked.key}: linearizability undecided after {checked.steps} steps")
    return VERDICTS[checked.verdict], problems


Check = Callable[[History], tuple[str, list[str]]]
HISTORY_CHECKS: dict[str, Check] = {"linearizable": check_linearizable, "writes": check_writes}
