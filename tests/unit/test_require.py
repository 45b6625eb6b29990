"""require(): skips where a capability is missing, fails where it is demanded."""

from __future__ import annotations

import pytest

ABSENT = "no-such-program-anywhere"


def test_require__present_goes_on(require, monkeypatch):
    monkeypatch.setenv("REPLICAST_REQUIRE", "sh")
    require("sh")


def test_require__absent_skips(require, monkeypatch):
    monkeypatch.delenv("REPLICAST_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match=ABSENT):
        require(ABSENT)


@pytest.mark.parametrize("demanded", [ABSENT, f"sh, {ABSENT}", "all"])
def test_require__absent_and_demanded_fails(require, monkeypatch, demanded):
    monkeypatch.setenv("REPLICAST_REQUIRE", demanded)
    with pytest.raises(pytest.fail.Exception, match="demands"):
        require(ABSENT)


def test_require__another_one_demanded_skips(require, monkeypatch):
    monkeypatch.setenv("REPLICAST_REQUIRE", "netns")
    with pytest.raises(pytest.skip.Exception):
        require(ABSENT)
