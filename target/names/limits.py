"""What bounds name rows: times, counts and bytes in flight. The simulator varies them."""

from __future__ import annotations

from dataclasses import dataclass

from replicast.units import KIB, MIB, MS, SECOND

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class NameLimits:
    """Defaults are the design's figures (DESIGN 9)."""

    retry_window_ns: int = 15 * MINUTE
    put_begun_max_ns: int = 12 * HOUR  # half the hold time
    max_skew_ns: int = 5 * SECOND
    silence_ns: int = 2 * SECOND  # a replica that does not acknowledge is removed
    resend_ns: int = 300 * MS  # no progress: ask the replica where it stands
    commit_notice_ns: int = 50 * MS  # idle replicas hear of a commit after 1 or 2; 0: at once
    command_retry_ns: int = 1 * SECOND  # a row command without outcome is submitted again
    add_wait_ns: int = 1 * SECOND  # before a removed replica is added again; doubles
    add_wait_max_ns: int = 60 * SECOND
    park_ns: int = 1500 * MS  # a request waits so long for table, take-over or a decision
    parked_max: int = 8192
    parked_bytes_max: int = 64 * MIB  # bodies of puts that wait
    row_entries_max: int = 512  # undecided entries of one row
    row_bytes_max: int = 16 * MIB
    rows_bytes_max: int = 256 * MIB  # of all rows led; where they have more, each has only
    row_share_bytes: int = 64 * KIB
    replica_bytes_max: int = 4 * MIB  # sent and not acknowledged, per replica of a row
    peer_bytes_max: int = 32 * MIB  # the same, per peer process
    message_bytes_max: int = 4 * MIB  # one message between targets
    page_bytes_max: int = 256 * KIB  # one LIST page
    tails_bytes_max: int = 16 * MIB  # recent entries of all rows that are kept in memory
    cut_entries_min: int = 256  # a log is cut when so many of its entries are of no use
    cut_entries_max: int = 65_536  # dropped by one cut
    install_idle_ns: int = 10 * SECOND  # who is brought up to date keeps the log from being cut
    piece_bytes_max: int = MIB  # of an install
    rebuild_batch: int = 128  # entries of a log that a wake-up makes a view of
    touch_batch: int = 256  # rows brought up to date in the background at once
    step_batch: int = 256  # rows that a wake-up looks after; more of them wait for the next
