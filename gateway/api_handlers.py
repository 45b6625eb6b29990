"""What each operation of the API socket does: JSON in, calls of the object layer, JSON out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from replicast.gateway.api_arguments import Arguments
from replicast.gateway.api_frames import Upload
from replicast.gateway.api_server import Handler, Reply
from replicast.gateway.buckets import NO_OWNER, Buckets
from replicast.gateway.objects import ObjectInfo, Objects
from replicast.gateway.put_stream import PutReport
from replicast.gateway.version_text import version_text
from replicast.gateway.walk import (
    ChunkFinding,
    CopyFinding,
    Finding,
    NameRepair,
    Repair,
    RepairFinding,
    Surveyor,
    Walk,
    WalkError,
    holders,
)
from replicast.wire.chunk_messages import HIT
from replicast.wire.documents import PAYLOAD, ManifestBody

DATA_BLOCK_BYTES = 1 << 20
WalkOperation = Callable[[str, str], AsyncIterator[Finding | Repair]]


class Service(Surveyor, Protocol):
    """The initiator as the handlers see it."""

    async def status(self) -> dict[str, Any]: ...


def info_json(info: ObjectInfo) -> dict[str, Any]:
    """One version as JSON; `metadata` where it is known."""
    known = {} if info.metadata is None else {"metadata": dict(info.metadata)}
    return {
        "bucket": info.bucket,
        "name": info.name,
        "version": version_text(info.version),
        "size_bytes": info.size_bytes,
        "etag": info.etag,
        "modified_ns": info.modified_ns,
        "delete_marker": info.delete_marker,
        **known,
    }


def _stored_json(info: ObjectInfo, report: PutReport) -> dict[str, Any]:
    """A version that was just stored, and what that took."""
    return info_json(info) | {
        "chunks": report.chunks,
        "chunks_deduplicated": report.chunks_deduplicated,
        "sent_bytes": report.sent_bytes,
        "stored_copies": report.stored_copies,
        "inline": report.inline,
        "copies": info.copies,
        "short_of_copies": [chid.hex() for chid in report.short_of_copies],
    }


class ApiHandlers:
    """All handlers; `table()` is what ApiServer serves."""

    def __init__(self, service: Service, objects: Objects, buckets: Buckets) -> None:
        self._service, self._objects, self._buckets = service, objects, buckets

    def table(self) -> dict[str, Handler]:
        """Operation name -> handler."""
        return {
            "bucket_create": self.bucket_create,
            "bucket_list": self.bucket_list,
            "bucket_delete": self.bucket_delete,
            "put": self.put,
            "copy": self.copy,
            "get": self.get,
            "stat": self.stat,
            "versions": self.versions,
            "delete": self.delete,
            "list": self.list,
            "status": self.status,
            "flexhash": self.flexhash,
            "locate": self.locate,
            "verify": self.verify,
            "repair": self.repair,
        }

    async def bucket_create(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        await self._buckets.create(
            request.text("bucket"),
            owner=request.text("owner", NO_OWNER),
            versioning=request.versioning(),
        )

    async def bucket_list(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        for record in await self._buckets.list():
            await reply.json(
                {"bucket": record.bucket, "created_ns": record.created_ns, "spread": record.spread}
            )

    async def bucket_delete(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        await self._buckets.delete(request.text("bucket"))

    async def put(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        report = PutReport()
        info = await self._objects.put(
            request.text("bucket"),
            request.text("name"),
            upload,
            metadata=request.metadata(),
            when=request.condition(),
            report=report,
        )
        await reply.json(_stored_json(info, report))

    async def copy(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        report = PutReport()
        info = await self._objects.copy(
            request.text("bucket"),
            request.text("name"),
            request.text("to_bucket"),
            request.text("to_name"),
            version=request.version(),
            metadata=request.metadata(),
            when=request.condition(),
            report=report,
        )
        await reply.json(_stored_json(info, report))

    async def get(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        span = request.range()
        info, body = await self._head(request)
        await reply.json(info_json(info))
        async for block in self._objects.bodies.read(body, span):
            view = memoryview(block)
            for at in range(0, len(view), DATA_BLOCK_BYTES):
                await reply.data(view[at : at + DATA_BLOCK_BYTES])

    async def _head(self, request: Arguments) -> tuple[ObjectInfo, ManifestBody]:
        return await self._objects.head(
            request.text("bucket"), request.text("name"), version=request.version()
        )

    async def stat(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        info, body = await self._head(request)
        count = 0
        async for _ in self._objects.bodies.payload_references(
            body.references, 0, body.logical_bytes
        ):
            count += 1
        await reply.json(info_json(info) | {"chunks": count, "inline": not body.references})

    async def versions(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        found = await self._objects.versions(request.text("bucket"), request.text("name"))
        for info in found:
            await reply.json(info_json(info))

    async def delete(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        info = await self._objects.delete(
            request.text("bucket"),
            request.text("name"),
            version=request.version(),
            when=request.condition(),
        )
        await reply.json(info_json(info))

    async def list(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        listing = self._objects.list(
            request.text("bucket"),
            request.text("prefix", ""),
            after=request.text("after", ""),
            delimiter=request.text("delimiter", ""),
        )
        async for entry in listing:
            found = {"prefix": entry} if isinstance(entry, str) else info_json(entry)
            await reply.json(found)

    async def status(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        await reply.json(await self._service.status())

    async def flexhash(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        table = self._service.table
        for row in range(table.policy.row_count):
            await reply.json(self._row_json(row))

    def _row_json(self, row: int) -> dict[str, Any]:
        table = self._service.table
        return {
            "row": row,
            "negotiating_group": list(table.members(row)),
            "draining": list(table.draining(row)),
            "name_replicas": list(table.name_replicas(row)),
            "row_leader": table.row_leader(row),
        }

    async def locate(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        """Where the name and each chunk of one object lie now, asked of the VDEVs themselves."""
        info, body = await self._head(request)
        row = await self._objects.row(info.bucket, info.name)
        await reply.json(
            {"name": info_json(info), "inline": not body.references} | self._row_json(row)
        )
        async for reference in self._objects.bodies.all_references(body.references):
            found = await holders(self._service, reference.chid)
            chunk = {
                "chid": reference.chid.hex(),
                "kind": "payload" if reference.kind == PAYLOAD else "manifest",
                "offset": reference.offset,
                "size_bytes": reference.stored_bytes,
                "held_by": sorted(index for index, kind in found.items() if kind == HIT),
            }
            await reply.json(
                chunk | self._row_json(self._service.table.row_of_chunk(reference.chid))
            )

    async def verify(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        walk = Walk(self._service, self._objects)
        await self._walk(walk, walk.verify, request, reply)

    async def repair(self, request: Arguments, upload: Upload, reply: Reply) -> None:
        walk = Walk(self._service, self._objects)
        await self._walk(walk, walk.repair, request, reply)

    async def _walk(
        self, walk: Walk, findings: WalkOperation, request: Arguments, reply: Reply
    ) -> None:
        for bucket in await self._buckets_of(request):
            async for finding in findings(bucket, request.text("prefix", "")):
                await self._report(finding, reply)
        await reply.json(
            {
                "walked_versions": walk.objects_walked,
                "walked_chunks": walk.chunks_walked,
                "copies_read": walk.copies_read,
                "errors": walk.errors,
            }
        )

    async def _buckets_of(self, request: Arguments) -> Sequence[str]:
        bucket = request.text("bucket", "")
        return [bucket] if bucket else [record.bucket for record in await self._buckets.list()]

    async def _report(self, finding: Finding | Repair, reply: Reply) -> None:
        if isinstance(finding, WalkError):
            found = f"{finding.bucket}/{finding.name}"
            await reply.json({"error": finding.detail, "object": found})
            return
        if isinstance(finding, RepairFinding | NameRepair):
            await reply.json(_repair_json(finding))
            return
        for copy in finding.copies:
            if copy.state != "ok":
                await reply.json(self._copy_json(copy))
        if isinstance(finding, ChunkFinding) and finding.hosts < finding.wanted:
            await reply.json(
                {
                    "below_copies": finding.reference.chid.hex(),
                    "object": f"{finding.bucket}/{finding.name}",
                    "copies": finding.hosts,
                    "wanted": finding.wanted,
                }
            )

    def _copy_json(self, copy: CopyFinding) -> dict[str, Any]:
        table = self._service.table
        return {
            "bad_copy": copy.state,
            "vdev": copy.vdev_index,
            "vdev_id": table.vdevs[copy.vdev_index].vdev_id.hex(),
            "target": table.target_of(copy.vdev_index).name,
            "chid": copy.chid.hex(),  # empty: the version's own entry in its row
            "object": f"{copy.bucket}/{copy.name}",
            "detail": copy.detail,
        }


def _repair_json(finding: Repair) -> dict[str, Any]:
    if isinstance(finding, NameRepair):
        good = [sum(c.state == "ok" for c in f.copies) for f in (finding.found, finding.now)]
        copy = finding.now.copies[0]
        chid, bucket, name, detail = "", copy.bucket, copy.name, ""
    else:
        good = [finding.chunk.hosts, finding.copies_now]
        chunk = finding.chunk
        chid, bucket, name = chunk.reference.chid.hex(), chunk.bucket, chunk.name
        detail = finding.detail
    return {
        "repair": finding.action,
        "chid": chid,
        "object": f"{bucket}/{name}",
        "copies_before": good[0],
        "copies_now": good[1],
        "detail": detail,
    }
