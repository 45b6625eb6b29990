"""What a NetThread counts: COUNTERS of replicast/transport/net_pure.py, which says what they mean."""

from libc.stdint cimport uint64_t

ctypedef struct counters_t:
    uint64_t received_control, received_payload, received_bytes
    uint64_t sent_control, sent_payload, sent_bytes
    uint64_t sent_joined, received_joined
    uint64_t send_too_long, send_errors, send_blocked, wake_ups
    uint64_t dropped_queue_full, dropped_truncated, dropped_unsent


cdef inline dict counted(counters_t a, counters_t b):
    """Of the sockets and of the caller, by name."""
    return {
        "received_control": a.received_control,
        "received_payload": a.received_payload,
        "received_bytes": a.received_bytes,
        "sent_control": a.sent_control + b.sent_control,
        "sent_payload": a.sent_payload,
        "sent_bytes": a.sent_bytes + b.sent_bytes,
        "sent_joined": a.sent_joined,
        "received_joined": a.received_joined,
        "send_too_long": a.send_too_long,
        "send_errors": a.send_errors,
        "send_blocked": a.send_blocked,
        "wake_ups": a.wake_ups,
        "dropped_queue_full": a.dropped_queue_full,
        "dropped_truncated": a.dropped_truncated,
        "dropped_unsent": a.dropped_unsent + b.dropped_unsent,
    }
