"""gateway/s3/descriptors.py: raised as far as it may be, never lowered."""

from __future__ import annotations

import resource

import pytest

from replicast.gateway.s3.descriptors import OTHERS, allow_connections


@pytest.mark.parametrize(
    ("soft", "hard", "count", "after"),
    [
        (1024, 65_536, 2048, 2048 + OTHERS),
        (1024, 4096, 10_000, 4096),
        (20_000, 20_000, 100, None),
        (1024, resource.RLIM_INFINITY, 5000, 5000 + OTHERS),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 5000, None),
    ],
)
def test_allow_connections(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, count: int, after: int | None
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    allow_connections(count)
    assert limits == ([] if after is None else [(after, hard)])
