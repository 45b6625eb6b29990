"""replicast/sim/explain.py: the story of one object, out of a trace of everything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from replicast.errors import InvalidRequest
from replicast.sim.explain import explain
from replicast.wire.frame import NO_OPERATION, pack_frame
from replicast.wire.name_messages import NO_VERSION, NameGet, NameKey
from replicast.wire.row_messages import PairKey

OPERATION = b"o" * 16


def key(name: str) -> NameKey:
    return NameKey(row=1, tenant="t", bucket="b", bucket_incarnation=1, name=name)


def line(what: str, **more: Any) -> str:
    return json.dumps({"t": 1_500_000_000, "process": "t1", "what": what, **more})


def get(name: str, operation_id: bytes) -> str:
    message = NameGet(key=key(name), version=NO_VERSION, want_body=True)
    return line("channel in", data=pack_frame(message, operation_id, 1).hex())


def test_story__is_of_one_object() -> None:
    pair_key = pack_frame(PairKey(session=1, key=b"k" * 32), NO_OPERATION, 1)
    told = list(
        explain(
            [
                line("call", key="b/mine", token=7, kind="put", argument="x"),
                line("call", key="b/other", token=8, kind="put", argument="y"),
                get("mine", OPERATION),
                get("other", b"p" * 16),
                line("channel in", data=pair_key.hex()),  # it has a key of another kind
                line("answer", token=7, result="done"),
                line("answer", token=8, result="done"),
                line("kill", text="t2"),
            ],
            "b/mine",
        )
    )
    assert [text.split()[2] for text in told] == ["calls", "channel", "t1:", "--"]
    assert OPERATION.hex()[:8] in told[1]


def test_story__of_what_is_no_trace() -> None:
    with pytest.raises(InvalidRequest, match="line 1"):
        list(explain(["{}"], "b/mine"))
