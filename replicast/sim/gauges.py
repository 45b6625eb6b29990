"""Everything of a daemon that may grow: how large it is, how large it says it may become.

    gauges = of_target(daemon), of_initiator(opened)

The bounds are the product's own constants, read where they are declared. `empties`: nothing may
be left of it once no operation is under way. Only what a daemon keeps between two wake-ups is
here; caches with a fixed size (answers, remembered chunks, tails of logs) have a bound and stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from replicast.auth.endpoint import Endpoint, EndpointLimits
from replicast.curve import QUEUE_BYTES_MAX, QUEUE_FRAMES_MAX, CurveHub
from replicast.flexhash import client as table_client
from replicast.flexhash import follow, follow_commands, lease, server, shelf
from replicast.flexhash.raft import node as raft_node
from replicast.gateway import chunks as gateway_chunks
from replicast.gateway import known_holders, put_turns
from replicast.gateway import requests as gateway_requests
from replicast.gateway.open import OpenedInitiator
from replicast.sim.inbox_pure import CONTROL_COUNT_MAX
from replicast.sim.sockets import JOBS_MAX
from replicast.target import answers, chunks, get, put, reserve, verify
from replicast.target.admission import CHUNK_BYTES_MAX
from replicast.target.daemon import TargetDaemon
from replicast.target.names import heal
from replicast.target.names import verify as name_verify
from replicast.target.names.service import NameService
from replicast.target.row_changes import ROWS_WAITING_MAX
from replicast.target.store import core as store_core
from replicast.transport.reassembly import PAGE_BYTES
from replicast.transport.shell import UdpShell
from replicast.wire.chunk_messages import VDEVS_MAX
from replicast.wire.row_messages import ENTRY_BYTES_MAX

TASKS_MAX = 512  # of one service: no limit of its own, so a generous one


class Gauge(NamedTuple):
    """One size."""

    name: str
    size: int
    most: int
    empties: bool = False


def of_target(daemon: TargetDaemon) -> list[Gauge]:
    """All of a target process; empty while it starts."""
    if not hasattr(daemon, "_peers"):
        return []
    found = list(_names(daemon._service.names))
    found += _target_chunks(daemon)
    found += _udp(daemon._udp)
    found += _hub(daemon._hub)
    found += _tables(daemon._client)
    found += _voter(daemon)
    found.append(Gauge("tables to give", len(daemon._port.shelf.tables), shelf.KEEP))
    found.append(Gauge("service tasks", len(daemon._service._tasks), TASKS_MAX, True))
    changes = daemon._service.row_changes
    found.append(Gauge("row changes waiting", len(changes), ROWS_WAITING_MAX, True))
    for vdev in daemon._vdevs.by_id.values():
        queue = vdev._engine.core
        most = store_core.QUEUE_BYTES_MAX + store_core.SUBMISSION_BYTES_MAX
        found.append(Gauge("store queue bytes", queue.queue_bytes, most, True))
        found.append(Gauge("store queue", queue.queue_count, store_core.QUEUE_COUNT_MAX, True))
    return found


def of_initiator(opened: OpenedInitiator) -> list[Gauge]:
    """All of a gateway or client program."""
    initiator = opened.initiator
    found = [
        Gauge(
            "chunk operations",
            len(initiator._chunks._cores) + len(initiator._chunks._waiting),
            gateway_chunks.OPERATIONS_MAX,
            True,
        ),
        Gauge("requests", len(initiator._requests._cores), gateway_requests.REQUESTS_MAX, True),
        Gauge(
            "futures",
            len(initiator._futures),
            gateway_chunks.OPERATIONS_MAX + gateway_requests.REQUESTS_MAX,
            True,
        ),
        Gauge(
            "remembered chunks",
            len(initiator.known_holders),
            known_holders.CHUNKS_MAX,
        ),
        Gauge("fetches of tables", len(initiator._fetches), TASKS_MAX, True),
        Gauge(
            "bytes of chunks put",
            initiator._context.turns.under_way_bytes,
            put_turns.MOST_BYTES,
            True,
        ),
        Gauge(
            "credit granted",
            initiator._context.credit.granted_bytes,
            initiator._context.credit.total_bytes,
            True,
        ),
    ]
    return [*found, *_udp(opened.udp), *_hub(opened.hub), *_tables(opened.client)]


def _names(names: NameService) -> Iterator[Gauge]:
    limits, parking = names.context.limits, names._parking
    yield Gauge("parked names", parking._count, limits.parked_max, True)
    yield Gauge("parked name bytes", parking._bytes, limits.parked_bytes_max, True)
    entries = entry_bytes = flight = 0
    for lead in names._leaders.values():
        if lead.undecided.entries:
            entries = max(entries, len(lead.undecided.entries))
            entry_bytes = max(entry_bytes, lead.undecided.bytes)
        for follower in lead.followers.values():
            flight = max(flight, follower.flight_bytes)
    # What was allowed when it began may exceed a limit in bytes by one entry.
    yield Gauge("undecided entries of a row", entries, limits.row_entries_max, True)
    yield Gauge(
        "undecided bytes of a row", entry_bytes, limits.row_bytes_max + ENTRY_BYTES_MAX, True
    )
    share = limits.row_share_bytes + ENTRY_BYTES_MAX  # of each row, where all have too much
    yield Gauge(
        "undecided bytes",
        names.context.undecided.bytes,
        limits.rows_bytes_max + share * len(names._leaders),
        True,
    )
    most = limits.replica_bytes_max + ENTRY_BYTES_MAX
    yield Gauge("bytes on the way to a replica", flight, most, True)
    windows = names._leading[2].bytes.values()
    most = limits.peer_bytes_max + limits.replica_bytes_max + ENTRY_BYTES_MAX
    yield Gauge("bytes on the way to a peer", max(windows, default=0), most, True)
    flights = max((len(a._flights) for a in names._appends.values()), default=0)
    yield Gauge("appends under way", flights, store_core.QUEUE_COUNT_MAX, True)
    yield Gauge("name verifications", len(names._verifier._open), name_verify.VERIFIES_MAX, True)
    yield Gauge("entries being healed", len(names._healer.wanted), heal.WANTED_MAX, True)


def _target_chunks(daemon: TargetDaemon) -> Iterator[Gauge]:
    service = daemon._service.chunks
    if service is None:
        return
    yield Gauge("parked chunk requests", len(service._parked), chunks.PARKED_MAX, True)
    yield Gauge("parked chunk bytes", service._parked_bytes, chunks.PARKED_BYTES_MAX, True)
    puts, sends = service.put, service.get
    yield Gauge("puts", len(puts._puts), put.PUTS_MAX, True)
    yield Gauge("puts by transfer", len(puts._by_transfer), put.PUTS_MAX, True)
    yield Gauge("store requests", len(puts._by_token), put.PUTS_MAX * VDEVS_MAX, True)
    yield Gauge("answers of puts", len(puts._answers._answers), answers.ANSWERS_MAX)
    reserved = puts._reservations._open
    yield Gauge("reservations", len(reserved), reserve.RESERVATIONS_MAX, True)
    yield Gauge("sends", len(sends._sends), get.SENDS_MAX, True)
    yield Gauge("send bytes", sends._open_bytes, get.SEND_BYTES_MAX + CHUNK_BYTES_MAX, True)
    yield Gauge("chunk reads", len(sends._by_token), get.SENDS_MAX, True)
    yield Gauge("chunk verifications", len(service.verify._open), verify.VERIFIES_MAX, True)
    credit = service._credit
    yield Gauge("credit granted", credit.granted_bytes, credit.total_bytes, True)
    yield Gauge("credit waiting", len(credit._waiting), put.PUTS_MAX, True)


def _udp(shell: UdpShell) -> Iterator[Gauge]:
    buffers = shell.net.reassembly
    stats = buffers.stats()
    most = buffers.budget_bytes + PAGE_BYTES
    yield Gauge("payload buffer bytes", stats["in_use_bytes"], most, True)
    yield Gauge("transfers", stats["transfers"], buffers.transfers_max, True)
    yield Gauge("payload jobs", len(shell._jobs), JOBS_MAX, True)
    yield Gauge("payload jobs waiting", len(shell._waiting), 2 * put.PUTS_MAX, True)
    yield from _endpoint(shell.endpoint)


def _endpoint(endpoint: Endpoint) -> Iterator[Gauge]:
    limits = EndpointLimits()
    yield Gauge("datagrams not taken", len(endpoint._voice.datagrams), CONTROL_COUNT_MAX, True)
    whole, cut = endpoint._recent._whole, endpoint._recent._cut
    yield Gauge("recent messages", len(whole._ring), limits.recent_count_max)
    yield Gauge("recent bytes", whole._bytes, limits.recent_bytes_max)
    yield Gauge("recent messages in fragments", len(cut._ring), limits.recent_cut_count_max)
    yield Gauge("recent bytes in fragments", cut._bytes, limits.recent_cut_bytes_max)
    yield Gauge("peers", len(endpoint._sessions._peers), limits.peers_max)
    yield Gauge("challenges", len(endpoint._sessions.asked), limits.challenges_max)
    yield Gauge(
        "partial messages", len(endpoint._assembler._partials), limits.fragments.messages_max
    )


def _hub(hub: CurveHub) -> Iterator[Gauge]:
    frames = max((len(port._queue) for port in hub._ports), default=0)
    queued = max((port._queued_bytes for port in hub._ports), default=0)
    yield Gauge("frames not taken", frames, QUEUE_FRAMES_MAX)
    yield Gauge("frame bytes not taken", queued, QUEUE_BYTES_MAX)


def _tables(client: table_client.TableClient) -> Iterator[Gauge]:
    core = client.core
    yield Gauge("commands waiting", len(core.commands), follow_commands.COMMANDS_MAX, True)
    yield Gauge("commands of callers", len(client._commands), follow_commands.COMMANDS_MAX, True)
    yield Gauge("questions to voters", len(core._sent_ns), follow.ASKED_MAX)
    yield Gauge("tables kept", len(client._recent), table_client.TABLES_KEEP)
    if client.lease is not None:
        yield Gauge("renewals under way", len(client.lease._sent_ns), lease.IN_FLIGHT_MAX)


def _voter(daemon: TargetDaemon) -> Iterator[Gauge]:
    voter = daemon._voter
    if voter.control is None or voter.raft is None:
        return
    core = voter.control.core
    yield Gauge("commands of clients", len(core._waiting), server.COMMANDS_MAX, True)
    yield Gauge("watchers", len(core._watchers), server.WATCHERS_MAX)
    submitted = voter.raft.node._submitted
    yield Gauge("commands in Raft", len(submitted), raft_node.COMMANDS_MAX)
