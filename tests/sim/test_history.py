"""Recording operations, and the text form."""

from __future__ import annotations

import json

import pytest

from replicast.sim.history import History, MalformedHistory, Operation, dump, load

HEADER = '{"history":1,"model":"name"}\n'


def recorded() -> History:
    history = History("name")
    first = history.invoke(1, "b/a", "put", "v1", 10)
    second = history.invoke(2, "b/a", "get", None, 20)
    history.ok(first, (5, 1, 0), 30)
    lost = history.invoke(1, "b/a", "put_if_match", ["v1", "v2"], 40)
    failed = history.invoke(3, "b/a", "put", "v3", 50)
    history.ok(second, "v1", 60)
    history.fail(failed, 70)
    history.unknown(lost)
    history.invoke(4, "b/é", "delete", None, 80)
    return history


def test_operations__failed_left_out_open_is_unknown() -> None:
    assert recorded().operations() == (
        Operation(1, "b/a", "put", "v1", (5, 1, 0), 10, 30),
        Operation(2, "b/a", "get", None, "v1", 20, 60),
        Operation(1, "b/a", "put_if_match", ("v1", "v2"), None, 40, None),
        Operation(4, "b/é", "delete", None, None, 80, None),
    )


def test_text__there_and_back() -> None:
    text = dump(recorded())
    assert text == HEADER + (
        '{"client":1,"key":"b/a","kind":"put","argument":"v1","result":[5,1,0],"call_ns":10,"return_ns":30}\n'
        '{"client":2,"key":"b/a","kind":"get","argument":null,"result":"v1","call_ns":20,"return_ns":60}\n'
        '{"client":1,"key":"b/a","kind":"put_if_match","argument":["v1","v2"],"result":null,"call_ns":40,"return_ns":null}\n'
        '{"client":4,"key":"b/\\u00e9","kind":"delete","argument":null,"result":null,"call_ns":80,"return_ns":null}\n'
    )
    assert load(text) == recorded()
    assert dump(load(text)) == text
    assert load(HEADER) == History("name") != load(text)


def test_one_instant__is_set_apart_in_the_order_of_recording() -> None:
    history = History("name")
    first = history.invoke(1, "b/a", "put", "v1", 5)
    history.ok(first, None, 5)
    second = history.invoke(1, "b/a", "get", None, 5)
    history.ok(second, None, 6)
    times = [(one.call_ns, one.return_ns) for one in history.operations()]
    assert times == [(5, 6), (7, 8)]
    assert load(dump(history)) == history


def test_misuse_is_an_error() -> None:
    history = History("name")
    token = history.invoke(1, "b/a", "put", "v1", 5)
    with pytest.raises(ValueError, match="time went back"):
        history.fail(history.invoke(1, "b/a", "get", None, 5), 4)
    with pytest.raises(ValueError, match="bytes is no value"):
        history.ok(token, b"v1", 6)  # type: ignore[arg-type]
    history.unknown(token)
    with pytest.raises(ValueError, match="ended twice"):
        history.ok(token, None, 6)


def line(**changes: object) -> str:
    members = {
        "client": 1,
        "key": "b/a",
        "kind": "put",
        "argument": "v",
        "result": None,
        "call_ns": 5,
        "return_ns": 9,
    }
    return json.dumps(members | changes, separators=(",", ":")) + "\n"


MALFORMED = {
    "no line feed": HEADER[:-1],
    "other form": '{"history":2,"model":"name"}\n',
    "form true": '{"history":true,"model":"name"}\n',
    "model": '{"history":1,"model":null}\n',
    "header missing": line(),
    "blank line": HEADER + "\n",
    "not JSON": HEADER + "{\n",
    "nested": HEADER + "[" * 100_000 + "\n",
    "nested value": HEADER + line().replace('"v"', "[" * 20 + "]" * 20),
    "spaces": HEADER + line().replace(",", ", "),
    "other member": HEADER + line(more=1),
    "member twice": HEADER + line().replace('{"client":1', '{"client":1,"client":1'),
    "a map as value": HEADER + line(argument={}),
    "a float": HEADER + line(argument=1.5),
    "client true": HEADER + line(client=True),
    "key": HEADER + line(key=None),
    "time": HEADER + line(call_ns="5"),
    "time before 0": HEADER + line(call_ns=-1),
    "returns first": HEADER + line(return_ns=5),
    "result of nothing": HEADER + line(return_ns=None, result=1),
    "order": HEADER + line(call_ns=6) + line(call_ns=5, return_ns=7),
    "two at one time": HEADER + line() + line(call_ns=9, return_ns=10),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed(what: str) -> None:
    with pytest.raises(MalformedHistory) as caught:
        load(MALFORMED[what])
    assert "\n" not in str(caught.value)
