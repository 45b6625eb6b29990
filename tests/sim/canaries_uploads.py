"""Planted bugs in how multipart uploads end (canaries.py)."""

from __future__ import annotations

from typing import Any

import pytest

from replicast.gateway.name_access import Decision, Names
from replicast.gateway.uploads import UploadInfo, Uploads


def completion_leaves_its_record(patch: pytest.MonkeyPatch) -> None:
    """An upload is still there after its completion."""

    async def nothing(self: Uploads, *_: Any) -> None:
        pass

    patch.setattr(Uploads, "_forget", nothing)


def abort_loses_and_does_not_say_so(patch: pytest.MonkeyPatch) -> None:
    """Who aborts does not ask what a completion under way has become."""

    async def prevented(self: Names, *_: Any) -> None:
        return None

    patch.setattr(Names, "prevent", prevented)


def completed_by_each_on_his_own(patch: pytest.MonkeyPatch) -> None:
    """Two that complete one upload commit as if they had nothing to do with each other."""

    def own(self: Uploads, upload: UploadInfo, since_ns: int) -> Decision:
        return Decision(b"", since_ns)

    patch.setattr(Uploads, "_decision", own)
