"""Planted bugs in what becomes of a bucket that was removed and made anew (canaries.py)."""

from __future__ import annotations

from typing import Any

import pytest

from replicast.errors import NotFound
from replicast.gateway.buckets import Buckets
from replicast.target.names import service
from replicast.target.names.context import RowContext
from replicast.wire.name_messages import NameKey, NameList
from replicast.wire.reasons import Reason


def bucket_gone_is_final(patch: pytest.MonkeyPatch) -> None:
    """C3: a gateway believes a row leader that says NO_SUCH_BUCKET, and does not look it up."""
    lookup = Buckets.lookup

    async def hasty(self: Buckets, tenant: str, bucket: str, gone: int = 0) -> Any:
        if gone:
            raise NotFound(f"there is no bucket {bucket}", reason="NO_SUCH_BUCKET")
        return await lookup(self, tenant, bucket)

    patch.setattr(Buckets, "lookup", hasty)


def bucket_gone_is_listed(patch: pytest.MonkeyPatch) -> None:
    """C3: a bucket that is gone is listed as if it were empty."""
    refusal = service.bucket_refusal

    def careless(context: RowContext, of: NameKey | NameList) -> Any:
        return None if isinstance(of, NameList) else refusal(context, of)

    patch.setattr(service, "bucket_refusal", careless)


def bucket_unheard_of_is_gone(patch: pytest.MonkeyPatch) -> None:
    """C3: a row leader calls a bucket gone that settings made which it has not got yet."""
    refusal = service.bucket_refusal

    def sure(context: RowContext, of: NameKey | NameList) -> Any:
        said = refusal(context, of)
        return Reason.NO_SUCH_BUCKET if said == Reason.NOT_READY else said

    patch.setattr(service, "bucket_refusal", sure)
