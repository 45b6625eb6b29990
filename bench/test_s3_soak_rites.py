"""s3_soak_rites.py: an upload that could not be aborted while a gateway was away is no wrong answer."""

from __future__ import annotations

import hashlib
import itertools
import random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from contents import Content
from s3_soak_ask import UNKNOWN, Outcome
from s3_soak_model import Key, Mode, WrongAnswer
from s3_soak_rites import Rites

GONE = Outcome({}, UNKNOWN, True)
NO_SUCH_UPLOAD = Outcome({}, "NoSuchUpload")


class Uploads:
    """The uploads of one key; once `goes_at` is asked for nobody answers until `back`."""

    def __init__(self, goes_at: str = "") -> None:
        self.goes_at, self.away = goes_at, False
        self.open: dict[str, dict[int, bytes]] = {}
        self.completed: list[str] = []
        self._ids = map(str, itertools.count(1))

    def back(self) -> None:
        """It answers again."""
        self.goes_at, self.away = "", False

    def ask(self, operation: str, *allowed: str, **given: Any) -> Outcome:
        """As s3_soak_ask.Asker."""
        self.away |= operation == self.goes_at
        if self.away:
            return GONE
        upload_id = given.get("UploadId", "")
        if operation == "create_multipart_upload":
            upload_id = next(self._ids)
            self.open[upload_id] = {}
            return Outcome({"UploadId": upload_id})
        if operation == "list_multipart_uploads":
            return Outcome({"Uploads": [{"UploadId": i, "Key": "w0/k"} for i in self.open]})
        if upload_id not in self.open:
            assert "NoSuchUpload" in allowed
            return NO_SUCH_UPLOAD
        parts = self.open[upload_id]
        if operation == "upload_part":
            parts[given["PartNumber"]] = given["Body"]
            return Outcome({"ETag": etag(given["Body"])})
        if operation == "list_parts":
            shown = [
                {"PartNumber": number, "ETag": etag(body), "Size": len(body)}
                for number, body in sorted(parts.items())
            ]
            return Outcome({"Parts": shown, "MaxParts": given["MaxParts"]})
        del self.open[upload_id]
        if operation == "complete_multipart_upload":
            self.completed.append(upload_id)
        return Outcome({})


def etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


def rites(uploads: Uploads) -> Rites:
    """Of a worker with one key."""
    key, numbers = Key("b", "w0/k", Mode.OFF), itertools.count(1)
    worker = SimpleNamespace(
        ask=uploads.ask,
        rng=random.Random(1),
        key=lambda: key,
        rich=lambda: False,
        content=lambda size: Content(next(numbers), size),
        took_effect=lambda *_: None,
    )
    return Rites(cast(Any, worker))


@pytest.mark.parametrize("operation", ["upload_part", "list_parts", "complete_multipart_upload"])
def test_upload__what_a_gateway_left_that_was_away(operation: str) -> None:
    uploads = Uploads(goes_at=operation)
    tried = rites(uploads)
    while not uploads.away:  # some are aborted before they are completed
        tried.upload()
    assert (left := list(uploads.open))
    tried.upload()
    assert list(uploads.open) == left, "while it is away nothing is begun"
    uploads.back()
    while len(uploads.completed) < 2:
        tried.upload()
    assert not uploads.open and left[0] not in uploads.completed


def test_upload__what_nobody_knows_of_is_wrong() -> None:
    uploads = Uploads()
    uploads.open["of nobody"] = {}
    with pytest.raises(WrongAnswer):
        rites(uploads).upload()
