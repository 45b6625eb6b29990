"""The one list of messages: importing this module registers them all.

Numbers: 1-9 sessions, 10-39 chunks, 40-59 names, 60-89 row replication,
90-149 control plane, 150-159 Raft, 200 and up stored documents (never in a header).
"""

from replicast.wire import (
    bucket_messages,
    chunk_messages,
    control_messages,
    documents,
    formation_messages,
    name_messages,
    raft_messages,
    row_messages,
    session_messages,
    status_messages,
    user_messages,
    voter_messages,
)
from replicast.wire.schema import MESSAGES

__all__ = [
    "MESSAGES",
    "bucket_messages",
    "chunk_messages",
    "control_messages",
    "documents",
    "formation_messages",
    "name_messages",
    "raft_messages",
    "row_messages",
    "session_messages",
    "status_messages",
    "user_messages",
    "voter_messages",
]
