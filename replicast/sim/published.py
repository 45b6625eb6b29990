"""Published histories: Jepsen's text form and its EDN maps, read into our History.

    INFO  jepsen.util - 2	:invoke	:cas	[3 0]                                   Jepsen's log
    {:process 0, :type :invoke, :f :append, :key "4", :value "x 0 1 y"}     EDN

Kinds read, write, cas are of the register model; get, put, append of the key-value model. One
event a line in the log; EDN events may stand in one vector, over several lines. Times are event
numbers.

A process does one operation at a time. :ok ends it; :info leaves its outcome unknown (whatever
its value says), after which the process may go on; an operation without end is unknown too. :fail
says that it did not take effect: a compare-and-set that shows both its values failed because the
register held something else, and is checked for that. Processes without number (the nemesis) and
log lines of others than jepsen.util are passed over; anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from replicast.sim.edn import Form, Keyword, plain, read_forms
from replicast.sim.history import History, MalformedHistory, Value
from replicast.sim.models import KEY_VALUE, REGISTER, Model

ONLY_KEY = "register"
TYPES = ("invoke", "ok", "fail", "info")

_OTHER_LOGGER = re.compile(
    r"(?:\S+ +)*?(?:TRACE|DEBUG|INFO|WARN|ERROR)\s+"
    r"(?:\[[^\]]*\]\s+)?(?!jepsen\.util\b)[\w.$-]+(?::|\s)"
)
_LOGGED = re.compile(r"(?:.*\bjepsen\.util(?:\s+-|:)\s+)?(\S+)\s+:(\w+)\s+:(\S+)(?:\s+(.*))?")
_PROCESS = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class _Event:
    line: int
    process: int
    type: str
    kind: str
    key: str
    value: Value
    explained: bool  # has an :error member


def load_jepsen_log(text: str) -> History:
    """Raises MalformedHistory."""
    return _assemble(_logged_events(text))


def load_edn(text: str) -> History:
    """Raises MalformedHistory."""
    return _assemble(_edn_events(text))


def _logged_events(text: str) -> Iterator[_Event]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or _OTHER_LOGGER.match(line):
            continue
        found = _LOGGED.fullmatch(line.strip())
        if found is None:
            raise MalformedHistory(f"line {number}: not an operation")
        process, kind_of_event, kind, rest = found.groups()
        if process.startswith(":"):
            continue
        if _PROCESS.fullmatch(process) is None:
            raise MalformedHistory(f"line {number}: process {process[:20]!r} is no number")
        value: Value = None
        if kind_of_event in ("invoke", "ok"):
            value = _single(rest or "", number)
        elif kind == "cas" and kind_of_event == "fail" and (rest or "").startswith("["):
            value = _single(rest, number)
        yield _Event(number, int(process), kind_of_event, kind, ONLY_KEY, value, False)


def _single(text: str, number: int) -> Value:
    forms = [form for _, form in read_forms(text, first_line=number)]
    if len(forms) != 1:
        raise MalformedHistory(f"line {number}: not one value: {text[:40]!r}")
    return plain(forms[0], number)


def _edn_events(text: str) -> Iterator[_Event]:
    for number, form in read_forms(text):
        for one in form if isinstance(form, tuple) else (form,):
            if not isinstance(one, dict):
                raise MalformedHistory(f"line {number}: not a map of an operation")
            process = one.get(Keyword("process"))
            if not isinstance(process, Keyword):
                yield _edn_event(number, process, one)


def _edn_event(number: int, process: Form, members: dict[Form, Form]) -> _Event:
    if type(process) is not int or process < 0:
        raise MalformedHistory(f"line {number}: no :process")
    kinds = [members.get(Keyword(name)) for name in ("type", "f")]
    if not all(isinstance(kind, Keyword) for kind in kinds):
        raise MalformedHistory(f"line {number}: no :type or no :f")
    key = plain(members.get(Keyword("key"), ONLY_KEY), number)
    ended_badly = kinds[0] in ("fail", "info") and kinds[1] != "cas"
    value = None if ended_badly else plain(members.get(Keyword("value")), number)
    explained = members.get(Keyword("error")) is not None
    return _Event(number, process, str(kinds[0]), str(kinds[1]), str(key), value, explained)


def _assemble(events: Iterator[_Event]) -> History:
    history, running = History(REGISTER.name), {}
    model: Model | None = None
    for now_ns, event in enumerate(events):
        of = next((m for m in (REGISTER, KEY_VALUE) if event.kind in m.kinds), None)
        if of is None or event.type not in TYPES:
            raise MalformedHistory(f"line {event.line}: unknown :{event.type} :{event.kind}")
        if model not in (None, of):
            raise MalformedHistory(f"line {event.line}: :{event.kind} among others' kinds")
        model, history.model = of, of.name
        if event.type == "invoke":
            if event.process in running:
                raise MalformedHistory(f"line {event.line}: process {event.process} is busy")
            argument = None if event.kind in ("read", "get") else event.value
            token = history.invoke(event.process, event.key, event.kind, argument, now_ns)
            running[event.process] = (token, event)
        else:
            if event.process not in running:
                raise MalformedHistory(f"line {event.line}: process {event.process} began nothing")
            token, began = running.pop(event.process)
            if (began.kind, began.key) != (event.kind, event.key):
                raise MalformedHistory(f"line {event.line}: it began as :{began.kind} {began.key}")
            _end(history, token, began, event, now_ns)
    return history


def _end(history: History, token: int, began: _Event, event: _Event, now_ns: int) -> None:
    if event.type == "info":
        history.unknown(token)
        return
    pair = isinstance(event.value, tuple) and not event.explained
    if event.type == "fail" and not (event.kind == "cas" and pair):
        history.fail(token, now_ns)
        return
    if event.kind in ("read", "get"):
        absent = "" if event.kind == "get" else None
        history.ok(token, absent if event.value is None else event.value, now_ns)
        return
    if event.value not in (None, began.value):
        raise MalformedHistory(f"line {event.line}: it began with {began.value!r}")
    history.ok(token, event.type == "ok" if event.kind == "cas" else None, now_ns)
