"""The lists of bench/s3_soak.py: of objects and of versions, page by page, each page from any gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s3_soak_model import Body, Key, Version, require

if TYPE_CHECKING:
    from s3_soak_work import Worker

PAGES = (1, 3, 7, 1000)
ENTRY = Body(())  # of an entry of a list: an object, whatever its bytes are


class Lists:
    """Of one worker's keys."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def objects(self) -> None:
        """ListObjects or ListObjectsV2, page by page, each page from any gateway."""
        bucket, v2 = (
            self._worker.rng.choice(list(self._worker.keys)),
            self._worker.rng.random() < 0.6,
        )
        sure = {key.name: key for key in self._sure(bucket)}
        prefix = self._worker.prefix + self._worker.rng.choice(("", "", "a/", "k"))
        delimiter = self._worker.rng.choice(("", "/"))
        found, common = self._pages(bucket, prefix, delimiter, v2, self._worker.rng.choice(PAGES))
        if found is None:
            return
        wanted, wanted_common = [], set()
        for name in sorted(sure, key=str.encode):
            newest = sure[name].newest
            if not name.startswith(prefix) or newest is None or newest.body is None:
                continue
            rest, mark, _ = name[len(prefix) :].partition("/")
            if delimiter and mark:
                wanted_common.add(f"{prefix}{rest}/")
            else:
                wanted.append((name, newest.etag, newest.body.size))
        unsure = {key.name for key in self._worker.keys[bucket]} - sure.keys()
        listed = [each for each in found if each[0] not in unsure]
        what = f"list {bucket}/{prefix} {delimiter!r}"
        require(listed == wanted, f"{what}: {listed}, should be {wanted}")
        exact = common == sorted(wanted_common, key=str.encode)
        require(exact or unsure, f"{what}: {common}, not {wanted_common}")

    def _sure(self, bucket: str) -> list[Key]:
        for key in self._worker.keys[bucket]:
            if key.unclear:
                self.look(key)
        return [key for key in self._worker.keys[bucket] if not key.maybe and not key.maybe_gone]

    def _pages(
        self, bucket: str, prefix: str, delimiter: str, v2: bool, size: int
    ) -> tuple[list[tuple[str, str, int]] | None, list[str]]:
        found: list[tuple[str, str, int]] = []
        common: list[str] = []
        at: dict[str, str] = {}
        while True:
            out = self._worker.ask(
                "list_objects_v2" if v2 else "list_objects",
                Bucket=bucket,
                Prefix=prefix,
                Delimiter=delimiter,
                MaxKeys=size,
                **at,
            )
            if out.failed:
                return None, []
            page = out.answer
            contents = page.get("Contents", [])
            found += [(each["Key"], each["ETag"], each["Size"]) for each in contents]
            common += [each["Prefix"] for each in page.get("CommonPrefixes", [])]
            if not page["IsTruncated"]:
                return found, common
            if v2:
                at = {"ContinuationToken": page["NextContinuationToken"]}
            else:
                at = {"Marker": page.get("NextMarker") or contents[-1]["Key"]}

    def versions(self) -> None:
        """ListObjectVersions of all its names in a bucket."""
        bucket = self._worker.rng.choice(list(self._worker.keys))
        self.look_at(
            bucket,
            self._worker.prefix,
            self._worker.rng.choice(PAGES[1:]),
            self._worker.keys[bucket],
        )

    def look(self, key: Key) -> None:
        """What versions it has, and take that for the truth if it can be."""
        self.look_at(key.bucket, key.name, PAGES[-1], [key])

    def look_at(
        self, bucket: str, prefix: str, size: int, keys: list[Key], at: int | None = None
    ) -> None:
        """All versions of these keys, which are all with that prefix."""
        listed: dict[str, list[Version]] = {}
        marker: dict[str, str] = {}
        while True:
            out = self._worker.ask(
                "list_object_versions", at=at, Bucket=bucket, Prefix=prefix, MaxKeys=size, **marker
            )
            if out.failed:
                return
            page = out.answer
            for each in merged(page):
                known = listed.setdefault(each["Key"], [])
                require(each["IsLatest"] == (not known), f"{each}: the latest or not")
                body = ENTRY if "ETag" in each else None
                known.append(Version(each["VersionId"], body, each.get("ETag", "")))
            if not page["IsTruncated"]:
                break
            marker = {"KeyMarker": page["NextKeyMarker"]}
            if "NextVersionIdMarker" in page:
                marker["VersionIdMarker"] = page["NextVersionIdMarker"]
        strange = listed.keys() - {key.name for key in keys}
        require(not strange or len(keys) == 1, f"{bucket}: names {strange} that nobody has put")
        for key in keys:
            key.settle(listed.get(key.name, []))


def merged(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Versions and markers of a page as they were listed: boto parts them. The latest comes first;
    among the others the time decides, and markers of the same second go by their ids."""
    both = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    return sorted(both, key=_place)


def _place(entry: dict[str, Any]) -> tuple[bytes, bool, float]:
    return entry["Key"].encode(), not entry["IsLatest"], -entry["LastModified"].timestamp()
