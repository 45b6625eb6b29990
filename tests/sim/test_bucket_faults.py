"""Buckets that are removed and made anew: what one hears late is late, and the workload makes such moments."""

from __future__ import annotations

import io
import json
from collections import Counter

from replicast.sim.run import run_test

from .whole import named


def test_anew__buckets_come_and_go_and_their_news_is_late() -> None:
    lines = io.StringIO()
    result = run_test(named("anew", 10), 1, lines)
    assert result.verdict == "ok", result.problems
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    held = [event for event in events if event["what"] == "held"]
    assert {1, 3} <= {len(event["hosts"]) for event in held}
    calls = {event["token"]: event for event in events if event["what"] == "call"}
    done = Counter(
        (calls[event["token"]]["kind"], event["what"])
        for event in events
        if event["what"] in ("answer", "failed")
        and calls[event["token"]]["key"].startswith("anew/")
    )
    assert done["put", "answer"] > 10
    assert done["put", "failed"] > 0, "no put ever met a bucket that was gone"
    assert done["list", "answer"] > 10
    assert sum(event["what"] == "bucket removed" for event in events) > 2
