"""ListObjects, ListObjectsV2, ListObjectVersions."""

from __future__ import annotations

from contextlib import aclosing

from replicast.errors import NotFound
from replicast.gateway.in_order import in_order
from replicast.gateway.objects import ObjectInfo, Objects
from replicast.gateway.s3 import listings
from replicast.gateway.s3.access import Access
from replicast.gateway.s3.answers import Owner
from replicast.gateway.s3.call import Answer, Call, xml
from replicast.gateway.s3.paging import (
    Scope,
    VersionsPage,
    after_marker,
    list_page,
    list_page_v2,
    versions_page,
)
from replicast.gateway.s3.versions import read_version, version_of
from replicast.gateway.users import User
from replicast.wire.control_messages import BucketInfo
from replicast.wire.name_messages import NO_VERSION, NULL_VERSION, VersionId

AT_ONCE = 16  # names whose versions are asked for at a time


class ListCalls:
    """The listings of one bucket."""

    def __init__(self, objects: Objects, access: Access) -> None:
        self._objects, self._access = objects, access

    async def objects(self, call: Call) -> Answer:
        """ListObjects."""
        record = await self._access.bucket(call.user, call.bucket)
        page = list_page(call.bucket, call.request.parameters)
        owner = _owner(call.user)
        found = await self._listed(record, page.scope, page.after, page.keys_max, owner)
        return xml(listings.objects(page, found))

    async def objects_v2(self, call: Call) -> Answer:
        """ListObjectsV2."""
        record = await self._access.bucket(call.user, call.bucket)
        page = list_page_v2(call.bucket, call.request.parameters)
        owner = _owner(call.user) if page.fetch_owner else None
        found = await self._listed(record, page.scope, page.after, page.keys_max, owner)
        return xml(listings.objects_v2(page, found))

    async def _listed(
        self, record: BucketInfo, scope: Scope, after: str, keys_max: int, owner: Owner | None
    ) -> listings.Listed:
        entries: list[listings.ObjectEntry] = []
        prefixes: list[str] = []
        last = ""
        if not keys_max:
            return listings.Listed(entries, prefixes)
        found = self._objects.list(record, scope.prefix, after=after, delimiter=scope.delimiter)
        async with aclosing(found) as everything:
            async for each in everything:
                if len(entries) + len(prefixes) == keys_max:
                    return listings.Listed(entries, prefixes, last)
                if isinstance(each, str):
                    prefixes.append(each)
                    last = each
                else:
                    entries.append(_entry(each, owner))
                    last = each.name
        return listings.Listed(entries, prefixes)

    async def versions(self, call: Call) -> Answer:
        """ListObjectVersions."""
        record = await self._access.bucket(call.user, call.bucket)
        page = versions_page(call.bucket, call.request.parameters)
        return xml(listings.versions(page, await self._versions(record, page, _owner(call.user))))

    async def _versions(
        self, record: BucketInfo, page: VersionsPage, owner: Owner
    ) -> listings.ListedVersions:
        """Names in order, of each all its versions, newest first; begins within the name of the
        key marker when a version marker says where."""
        scope = page.scope
        entries: list[listings.VersionEntry | listings.MarkerEntry] = []
        prefixes: list[str] = []
        last_key = last_version = ""
        if not page.keys_max:
            return listings.ListedVersions(entries, prefixes)

        def full() -> bool:
            return len(entries) + len(prefixes) == page.keys_max

        after = after_marker(scope, page.key_marker)
        within = page.key_marker.startswith(scope.prefix) and after == page.key_marker
        if page.version_marker and within:
            for version in await self._behind(record, page):
                if full():
                    return listings.ListedVersions(entries, prefixes, last_key, last_version)
                entries.append(_version_entry(*version, owner))
                last_key, last_version = page.key_marker, version_of(version[0])
        found = self._objects.list(
            record,
            scope.prefix,
            after=after,
            delimiter=scope.delimiter,
            deleted=True,
        )

        async def versions(each: ObjectInfo | str) -> str | list[tuple[ObjectInfo, bool]]:
            return each if isinstance(each, str) else await self._all(record, each.name)

        async with aclosing(found), aclosing(in_order(found, versions, AT_ONCE)) as everything:
            async for each in everything:
                if isinstance(each, str):
                    if full():
                        return listings.ListedVersions(entries, prefixes, last_key, last_version)
                    prefixes.append(each)
                    last_key, last_version = each, ""
                    continue
                for version in each:
                    if full():
                        return listings.ListedVersions(entries, prefixes, last_key, last_version)
                    entries.append(_version_entry(*version, owner))
                    last_key, last_version = version[0].name, version_of(version[0])
        return listings.ListedVersions(entries, prefixes)

    async def _all(self, bucket: BucketInfo, name: str) -> list[tuple[ObjectInfo, bool]]:
        """The versions of a name and whether each is the latest; none when it is gone meanwhile."""
        try:
            versions = await self._objects.versions(bucket, name)
        except NotFound:
            return []
        return [(version, at == 0) for at, version in enumerate(versions)]

    async def _behind(
        self, record: BucketInfo, page: VersionsPage
    ) -> list[tuple[ObjectInfo, bool]]:
        """Those of the marker's name that are older than the marker's version."""
        marker = read_version(page.version_marker)
        versions = await self._all(record, page.key_marker)
        if marker in (NO_VERSION, NULL_VERSION):
            at = next((n for n, (info, _) in enumerate(versions) if info.null), len(versions))
            return versions[at + 1 :]
        return [each for each in versions if _order(each[0]) < _order_of(marker)]


def _order(info: ObjectInfo) -> tuple[int, int, int]:
    return _order_of(info.version)


def _order_of(version: VersionId) -> tuple[int, int, int]:
    return version.time_ns, version.segment_id, version.sequence


def _owner(user: User) -> Owner:
    return Owner(user.canonical_id, user.display_name)


def _entry(info: ObjectInfo, owner: Owner | None) -> listings.ObjectEntry:
    return listings.ObjectEntry(info.name, info.modified_ns, info.etag, info.size_bytes, owner)


def _version_entry(
    info: ObjectInfo, latest: bool, owner: Owner
) -> listings.VersionEntry | listings.MarkerEntry:
    version = version_of(info)
    if info.delete_marker:
        return listings.MarkerEntry(info.name, version, latest, info.modified_ns, owner)
    return listings.VersionEntry(_entry(info, owner), version, latest)
