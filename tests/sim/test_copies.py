"""Copies in whole clusters: most move no bytes, and those whose source lies on too few hosts do."""

from __future__ import annotations

import io
import json

from replicast.sim.run import run_test

from .whole import named

SEEDS = (1, 2, 3)


def test_copies__hold_what_is_there_and_send_what_is_missing() -> None:
    sent_bytes = []
    for seed in SEEDS:
        lines = io.StringIO()
        result = run_test(named("copies", 5), seed, lines)
        assert result.verdict == "ok", result.problems
        events = [json.loads(line) for line in lines.getvalue().splitlines()]
        sent_bytes += [e["sent_bytes"] for e in events if e["what"] == "copied" and e["chunks"]]
    assert len(sent_bytes) > 50
    assert sent_bytes.count(0) > len(sent_bytes) / 2
    assert any(sent_bytes), "no copy ever met a chunk on too few hosts"
