"""Raft for the control plane: pysyncobj's core on our own journal, codec, transport and clock.

node.py       RaftNode: the core that everybody uses
seams.py      the places where pysyncobj is cut open, checked at import
journal.py    entries, term and vote on disk
snapshot.py   the compacted state on disk, and its way to a follower
transport.py  envelopes, liveness, and what pysyncobj must never see
codec.py      tagged values instead of pickle (codec_pure.py defines them)
clock.py      time and chance of the node that is running
shell.py      asyncio and CURVE around a node
"""
