"""Every metric, declared once: name with unit, labels, and the exact moment it counts.

Cores count into a `Counters` object (plain dictionaries, no I/O, no locks: one
per owner thread); the daemon's /metrics renders them with prometheus-client.
A name that is not declared here is an error at the first count, so that the
table below stays the whole truth.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """`kind` is counter, gauge or histogram (seconds)."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


METRICS: dict[str, Metric] = {}


def declare(name: str, kind: str, labels: tuple[str, ...], help: str) -> None:
    """Add one row to the table; a name declared twice is a programming error."""
    if name in METRICS:
        raise TypeError(f"metric {name} is declared twice")
    METRICS[name] = Metric(name, kind, labels, help)


# -- datagrams --------------------------------------------------------------------
declare(
    "datagrams_received", "counter", ("kind",), "Datagrams taken from a socket: control or payload."
)
declare(
    "datagrams_sent", "counter", ("kind",), "Datagrams handed to the kernel: control or payload."
)
declare(
    "datagrams_dropped", "counter", ("reason",), "Datagrams dropped before any effect, by reason."
)
declare(
    "datagrams_unsendable",
    "counter",
    ("reason",),
    "Payload datagrams that the kernel refused: too_long for the path, or refused (no route).",
)
declare(
    "path_mtu_bytes",
    "gauge",
    ("of",),
    "MTU of the storage interface, and the least of the paths to peers; none on loopback.",
)
declare(
    "datagrams_joined",
    "counter",
    ("direction",),
    "Datagrams that passed the kernel several a message: sent (UDP_SEGMENT), received (UDP_GRO).",
)
declare(
    "udp_offload",
    "gauge",
    ("direction",),
    "1 while several datagrams a message may pass the kernel, sent or received; 0: it refused.",
)
declare(
    "sessions",
    "counter",
    ("event",),
    "Sessions of peers: challenged, answered, confirmed; resent: messages sent again for it.",
)
declare("fragments_resent", "counter", (), "Fragments of control messages sent again on request.")
declare("payload_transfers", "gauge", (), "Payloads that are expected or arriving here.")
declare(
    "payload_buffer_bytes", "gauge", (), "Memory that payloads hold from then until they are read."
)
declare("payload_resent_bytes", "counter", (), "Payload bytes sent again after a gap report.")
declare("messages_received", "counter", ("type",), "Authenticated messages delivered to a core.")
declare("messages_sent", "counter", ("type",), "Messages handed to the endpoint.")
# -- chunks -----------------------------------------------------------------------
declare(
    "bids", "counter", ("outcome",), "Bids: won, lost, late or refused, when the initiator decides."
)
declare(
    "refusals",
    "counter",
    ("reason",),
    "Typed refusals, counted where they are made and where they arrive.",
)
declare(
    "chunks_put",
    "counter",
    ("path",),
    "Chunks durable on enough VDEVs: path immediate, negotiated, or held (a copy).",
)
declare(
    "chunk_puts_waiting",
    "gauge",
    (),
    "Large chunks that wait for their turn at this initiator.",
)
declare(
    "chunk_put_window_bytes",
    "gauge",
    (),
    "Bytes of large chunks put at a time; less after targets were too busy.",
)
declare(
    "chunk_put_bytes", "counter", ("how",), "Chunk bytes of finished puts: sent or deduplicated."
)
declare("chunks_stored", "counter", ("how",), "Per VDEV, after fdatasync: stored, held (dedupe).")
declare("chunk_transfers", "gauge", (), "Chunk puts and sends under way at this target.")
declare(
    "chunks_read",
    "counter",
    ("outcome",),
    "Chunk reads ended: verified, second_source, unavailable, lost.",
)
declare(
    "hash_mismatches",
    "counter",
    ("where",),
    "Payloads whose hash was wrong: received, read, verify.",
)
declare(
    "put_seconds",
    "histogram",
    ("path",),
    "Chunk put, from first datagram to enough copies durable.",
)
declare("get_seconds", "histogram", (), "Chunk get, from first datagram to verified bytes.")
declare("negotiation_seconds", "histogram", (), "PUT_PROPOSE to PUT_ACCEPT.")
# -- store ------------------------------------------------------------------------
declare("vdev_bytes", "gauge", ("vdev", "kind"), "VDEV bytes: capacity, used, free.")
declare("vdev_queue_bytes", "gauge", ("vdev",), "Bytes submitted to a VDEV and not yet durable.")
declare(
    "vdev_state",
    "gauge",
    ("vdev", "state"),
    "1 for the state that the VDEV is in: ok, slow, failing, full, read_only, faulted or damaged.",
)
declare(
    "vdevs_left_out",
    "gauge",
    (),
    "VDEVs of its settings that this target runs without: they could not be opened when it started.",
)
declare(
    "vdev_read_errors",
    "counter",
    ("vdev",),
    "Reads of chunks and log entries that the disk refused, within a second of it.",
)
declare("flush_seconds", "histogram", ("vdev",), "One group commit, writes and fdatasync.")
declare("flush_records", "counter", ("vdev",), "Records made durable.")
# -- names ------------------------------------------------------------------------
declare("name_operations", "counter", ("operation",), "Named requests, as they reach a target.")
declare("names_parked", "gauge", (), "Named requests that wait until their row is ready.")
declare("row_takeovers", "counter", (), "Rows whose leadership this target finished taking over.")
declare("row_catchups", "counter", (), "Name replicas brought back in sync.")
declare("row_cuts", "counter", (), "Times that the log of a row was cut.")
declare("row_installs", "counter", (), "Replicas of rows made anew of what another log had kept.")
declare(
    "hand_overs",
    "counter",
    ("outcome",),
    "Stops of this target, once each: done, cut_short (hand_over_seconds) or nobody_there.",
)
declare(
    "row_conflicts",
    "counter",
    (),
    "Replicas that knew a committed entry which the row's leader lacked: damage; healed or alarmed.",
)
declare(
    "row_messages_sent",
    "counter",
    ("way",),
    "Messages about rows to other targets: udp under a key of the pair, or curve; again: over CURVE"
    " what was said before and brought no answer.",
)
declare(
    "row_entries_refused",
    "counter",
    ("why",),
    "Row items from peers refused (stale, mismatch), and messages that failed (internal).",
)
declare(
    "row_entries_unreadable", "counter", (), "Log entries of a row that could not be read back."
)
declare(
    "row_entries_restored",
    "counter",
    (),
    "Unreadable log entries of a row that came back from another replica.",
)
declare("rows_led", "gauge", (), "Rows led by this target.")
# -- control plane ----------------------------------------------------------------
declare("generation", "gauge", (), "Counter part of the adopted generation.")
declare("lease_age_seconds", "gauge", (), "Age of the current lease's grant; -1 without a lease.")
declare("lease_valid", "gauge", (), "1 while the lease is valid.")
declare("raft_state", "gauge", ("state",), "1 for follower, candidate, leader, failed or lost.")
declare(
    "table_refetches", "counter", (), "A newer table was asked for than the one that is known here."
)
declare("control_refused", "counter", ("reason",), "Control-plane requests refused, by reason.")
declare(
    "tables_fetched",
    "counter",
    ("source",),
    "Tables that came and were right, from a target on this host, another target, or a voter.",
)
declare(
    "table_sources_failed",
    "counter",
    ("how",),
    "Targets near by that had no table to give (refused), gave other bytes (wrong) or nothing (silent).",
)
# -- channels and Raft ------------------------------------------------------------
declare(
    "curve_refused",
    "counter",
    ("channel", "reason"),
    "Frames and handshakes refused by a CURVE server: handshake, revoked or framing.",
)
declare(
    "curve_dropped",
    "counter",
    ("channel",),
    "Frames not sent (peer gone, queue full) or dropped unread.",
)
declare("raft_dropped", "counter", ("reason",), "Raft messages dropped at their receiver.")
declare("raft_commands", "counter", ("outcome",), "Commands submitted here, when answered.")
declare("raft_pre_votes", "counter", (), "Times this voter missed a leader and asked its peers.")
declare("voter_epoch", "gauge", (), "Of the newest list of voters on disk here.")
declare("voters_lost", "counter", (), "Voters that must not vote: their Raft files are lost.")
declare("raft_term", "gauge", (), "Current Raft term.")
declare("raft_journal_entries", "gauge", (), "Entries in the Raft journal.")
declare("raft_apply_failures", "counter", (), "Commands whose application raised: always a bug.")
declare("raft_turn_failures", "counter", (), "Turns of the Raft shell that raised: a bug.")
declare("join_refused", "counter", ("reason",), "Join requests refused by the founder.")
# -- gateway ----------------------------------------------------------------------
declare("object_operations", "counter", ("operation", "outcome"), "Client operations finished.")
declare("object_seconds", "histogram", ("operation",), "Client operations, whole duration.")
declare("api_connections", "gauge", (), "Connections to the API socket that are open.")
declare(
    "api_connections_refused", "counter", (), "Those that were told BUSY: enough others are open."
)
declare(
    "s3_requests", "counter", ("operation", "code"), "S3 requests answered: ok or the error code."
)
declare("s3_seconds", "histogram", ("operation",), "S3 requests, whole duration.")
declare("s3_connections", "gauge", (), "Connections of S3 clients that are open.")
declare(
    "s3_handshakes_failed",
    "counter",
    ("why",),
    "TLS handshakes of S3 clients: refused (no TLS, or nothing in common), late, or gone (they left).",
)
declare(
    "s3_connections_ended",
    "counter",
    ("why",),
    "Those that this side ended: slow_head, slow_reader, or excess (far more than are served).",
)
declare("s3_requests_under_way", "gauge", (), "S3 requests that are being answered.")
declare("s3_requests_waiting", "gauge", (), "S3 requests that wait for their turn or for memory.")
declare("s3_body_bytes", "gauge", (), "Memory that bodies of S3 requests hold, as it is counted.")
declare(
    "s3_certificate_loads",
    "counter",
    ("outcome",),
    "Pairs of certificate and key read from their files: loaded or refused.",
)
declare(
    "s3_certificate_expires_seconds",
    "gauge",
    (),
    "Time of day, in seconds since 1970, at which the certificate that is served ends.",
)
declare(
    "repairs",
    "counter",
    ("outcome",),
    "Chunks and version entries that a repair walk treated: restored, short, lost or failed.",
)
declare(
    "s3_seals_broken",
    "counter",
    (),
    "Encrypted chunks, keys or roots of objects that were not as they had been written.",
)

declare(
    "users", "gauge", (), "Users of the S3 gateways that this gateway knows, disabled ones too."
)
declare("users_version", "gauge", (), "The last change of users that this gateway knows.")
declare(
    "users_unreadable",
    "counter",
    (),
    "Sealed secrets that did not open when they came: their users are refused.",
)

BUCKETS_SECONDS = (
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
)

Labels = tuple[str, ...]


class Counters:
    """Values of declared metrics, for one owner."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, Labels], float] = {}
        self.histograms: dict[tuple[str, Labels], list[float]] = {}

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        key = (name, labels)
        values = self.values
        if key in values:
            values[key] += by
        else:
            self._check(name, labels, "counter")
            values[key] = by

    def gauge(self, name: str, *labels: str, value: float) -> None:
        """Set a gauge."""
        key = (name, labels)
        if key not in self.values:
            self._check(name, labels, "gauge")
        self.values[key] = value

    def observe_ns(self, name: str, *labels: str, elapsed_ns: int) -> None:
        """Add one observation to a histogram; buckets, then sum and count at the end."""
        key = (name, labels)
        cells = self.histograms.get(key)
        if cells is None:
            self._check(name, labels, "histogram")
            cells = self.histograms[key] = [0.0] * (len(BUCKETS_SECONDS) + 3)
        seconds = elapsed_ns / 1e9
        cells[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        cells[-2] += seconds
        cells[-1] += 1

    def get(self, name: str, *labels: str) -> float:
        """Current value of a counter or gauge (0 when never counted)."""
        return self.values.get((name, labels), 0)

    def total(self, name: str) -> float:
        """Sum over all labels."""
        return sum(v for (n, _), v in self.values.items() if n == name)

    def __iter__(self) -> Iterator[tuple[str, Labels, float]]:
        for (name, labels), value in sorted(self.values.items()):
            yield name, labels, value

    @staticmethod
    def _check(name: str, labels: Labels, kind: str) -> None:
        metric = METRICS[name]
        assert metric.kind == kind and len(metric.labels) == len(labels), (name, labels)
