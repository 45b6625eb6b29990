"""What takes several operations in their order, in bench/s3_soak.py: an upload from its parts, and the
life of a bucket."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from contents import Content
from s3_soak_ask import Outcome
from s3_soak_model import NULL, Body, Key, metadata, require

from replicast.units import KIB, MIB

if TYPE_CHECKING:
    from s3_soak_work import Worker

PART_BYTES = 5 * MIB  # the least of all but the last
LAST_BYTES = (1, 40 * KIB, MIB + 1)
ABORTED_SHARE = 0.25
AGAIN_SHARE = 0.3
NO_IDS = {None, NULL}  # what a put may say of a null version


class Rites:
    """Of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._ask, self._rng = worker, worker.ask, worker.rng
        self._made = 0
        self._left: list[Key] = []  # keys that may have an upload which could not be aborted

    # -- uploads ------------------------------------------------------------------------

    def upload(self) -> None:
        """Create, parts, complete or abort; what is left when an operation fails is aborted."""
        key = self._worker.key()
        if not self._cleared(key):
            return
        at = {"Bucket": key.bucket, "Key": key.name}
        pieces = self._pieces()
        body = Body(pieces, multipart=True)
        made = self._ask("create_multipart_upload", Metadata=metadata(body), **at)
        if made.done:
            upload = {**at, "UploadId": made.answer["UploadId"]}
            if not self._parts(upload, pieces):
                self._abort(key, upload)
            else:
                self._look(upload, pieces, made)
                if self._rng.random() < ABORTED_SHARE:
                    self._abort(key, upload)
                else:
                    self._complete(key, upload, body)
        if made.unclear:
            self.abort_all(key)

    def _pieces(self) -> tuple[Content, ...]:
        sizes = [self._rng.choice(LAST_BYTES)]
        if self._worker.rich():
            sizes[:0] = [PART_BYTES] * self._rng.choice((1, 1, 2))
        return tuple(self._worker.content(size) for size in sizes)

    def _parts(self, upload: dict[str, str], pieces: tuple[Content, ...]) -> bool:
        """All of them, in any order; the last perhaps twice, of which the later counts."""
        numbered = list(enumerate(pieces, 1))
        self._rng.shuffle(numbered)
        for number, piece in numbered:
            if number == len(pieces) and self._rng.random() < AGAIN_SHARE:
                other = self._worker.content(piece.size + 1)
                if self._ask("upload_part", PartNumber=number, Body=other.data(), **upload).failed:
                    return False
            out = self._ask("upload_part", PartNumber=number, Body=piece.data(), **upload)
            if out.failed:
                return False
            require(out.answer["ETag"] == _etag(piece), f"{upload}: part {number} {out.answer}")
        return True

    def _look(self, upload: dict[str, str], pieces: tuple[Content, ...], made: Outcome) -> None:
        out = self._ask("list_parts", MaxParts=self._rng.choice((1000, 2)), **upload)
        if not out.failed:
            found = [(p["PartNumber"], p["ETag"], p["Size"]) for p in out.answer.get("Parts", [])]
            wanted = [(n, _etag(piece), piece.size) for n, piece in enumerate(pieces, 1)]
            shown = wanted[:2] if out.answer["MaxParts"] == 2 else wanted
            require(found == shown, f"{upload}: parts {found}, should be {shown}")
        ids = self._uploads(upload["Bucket"], upload["Key"])
        if ids is not None and not made.unclear:
            require(ids == [upload["UploadId"]], f"{upload}: uploads {ids}")

    def _uploads(self, bucket: str, key: str) -> list[str] | None:
        out = self._ask("list_multipart_uploads", Bucket=bucket, Prefix=key)
        if out.failed:
            return None
        return [each["UploadId"] for each in out.answer.get("Uploads", []) if each["Key"] == key]

    def _complete(self, key: Key, upload: dict[str, str], body: Body) -> None:
        named = [{"PartNumber": n, "ETag": _etag(piece)} for n, piece in enumerate(body.pieces, 1)]
        parts: dict[str, Any] = {"Parts": named}
        out = self._ask("complete_multipart_upload", MultipartUpload=parts, **upload)
        if out.retries and out.done and "VersionId" not in out.answer:
            out = Outcome({}, "", True, out.retries)  # an earlier attempt has made it
        self._worker.took_effect(key, body, out)
        if out.unclear:
            self.abort_all(key)
        else:
            late = self._ask("upload_part", "NoSuchUpload", PartNumber=1, Body=b"x", **upload)
            require(not late.done, f"{upload}: takes a part, and is completed")

    def _abort(self, key: Key, upload: dict[str, str]) -> None:
        out = self._ask("abort_multipart_upload", "NoSuchUpload", **upload)
        if out.failed:
            self._left.append(key)
        else:
            require(out.done or out.retries, f"{upload}: not there when it is aborted")
            after = self._ask("list_parts", "NoSuchUpload", **upload)
            require(not after.done, f"{upload}: is there, and was aborted")

    def abort_all(self, key: Key) -> None:
        """Of a key, whatever there is."""
        found = self._uploads(key.bucket, key.name)
        for upload_id in found or ():
            upload = {"Bucket": key.bucket, "Key": key.name, "UploadId": upload_id}
            if self._ask("abort_multipart_upload", "NoSuchUpload", **upload).failed:
                found = None
        if found is None:
            self._left.append(key)

    def _cleared(self, key: Key) -> bool:
        """Whether nothing is left there: a list would show it beside the next upload."""
        if key in self._left:
            self._left = [each for each in self._left if each != key]
            self.abort_all(key)
        return key not in self._left

    def clean(self) -> None:
        """In the end, what could not be aborted when it should have been."""
        left, self._left = self._left, []
        for key in left:
            self.abort_all(key)

    # -- a bucket -----------------------------------------------------------------------

    def bucket(self) -> None:
        """Create, use, empty, delete; each seen at once by every gateway."""
        self._made += 1
        name = f"soak-w{self._worker.number}-{self._made}"
        if self._ask("create_bucket", Bucket=name).failed:
            return
        self._seen(name, there=True)
        if self._rng.random() < 0.5:
            status = self._rng.choice(("Enabled", "Suspended"))
            if not self._versioned(name, status):
                return
        body = self._worker.content(self._rng.choice((9, 100_000))).data()
        if self._ask("put_object", Bucket=name, Key="k", Body=body).failed:
            return
        full = self._ask("delete_bucket", "BucketNotEmpty", Bucket=name)
        require(not full.done, f"{name}: deleted with an object in it")
        listed = self._ask("list_object_versions", Bucket=name)
        for each in listed.answer.get("Versions", []):
            if self._ask("delete_object", Bucket=name, Key="k", VersionId=each["VersionId"]).failed:
                return
        out = self._ask("delete_bucket", "NoSuchBucket", "BucketNotEmpty", Bucket=name)
        if out.failed or listed.failed:
            return
        require(out.code != "NoSuchBucket" or out.retries, f"{name}: not there when it is deleted")
        require(out.code != "BucketNotEmpty", f"{name}: not empty, and all versions are gone")
        self._seen(name, there=False)

    def _versioned(self, name: str, status: str) -> bool:
        """Every gateway knows at once."""
        wanted = {"Status": status}
        out = self._ask("put_bucket_versioning", Bucket=name, VersioningConfiguration=wanted)
        if out.failed:
            return False
        for at in range(len(self._worker.asker.clients)):
            found = self._ask("get_bucket_versioning", at=at, Bucket=name)
            if not found.failed:
                known = found.answer.get("Status")
                require(known == status, f"{name}: versioning {known} at {at}, is {status}")
        return self._keeps_versions(name, status)

    def _keeps_versions(self, name: str, status: str) -> bool:
        """Two puts leave two versions or one, whoever takes them."""
        ids = []
        for number in range(2):
            body = self._worker.content(9).data()
            out = self._ask("put_object", at=number, Bucket=name, Key="k", Body=body)
            if out.unclear:
                return not out.failed
            ids.append(out.answer.get("VersionId"))
        if status == "Enabled":
            require(
                set(ids).isdisjoint(NO_IDS) and len(set(ids)) == 2, f"{name}: version ids {ids}"
            )
        else:
            require(NO_IDS.issuperset(ids), f"{name}: version ids {ids}")
        return True

    def _seen(self, name: str, *, there: bool) -> None:
        for at in range(len(self._worker.asker.clients)):
            out = self._ask("head_bucket", "404", at=at, Bucket=name)
            require(out.failed or out.done == there, f"{name}: {out.code or 'found'} at {at}")
            out = self._ask("list_objects_v2", "NoSuchBucket", at=at, Bucket=name)
            require(out.failed or out.done == there, f"{name}: {out.code or 'listed'} at {at}")
        listed = self._ask("list_buckets")
        names = [each["Name"] for each in listed.answer.get("Buckets", [])]
        require(listed.failed or (name in names) == there, f"{name}: in the list of buckets or not")


def _etag(piece: Content) -> str:
    return f'"{hashlib.md5(piece.data()).hexdigest()}"'
