"""The Raft journal on disk: entries, term and vote, behind pysyncobj's eleven methods.

    raft.journal   header, then records: size, checksum, index, term, synced | command
    raft.vote      who we are, boot number, term, vote; rewritten whole at every change

Changes gather in memory until sync(), which RaftNode calls before any message leaves and
which setRaftCommitIndex() calls before an entry that is not yet safe is counted as committed.
So nothing that anybody can know of is ever forgotten, and one fdatasync serves a whole tick.

Opening: each record tells up to which byte the file was synced when it was written. A bad
record is a torn tail when nothing behind it says otherwise; it is damage when a later record
knows that it had been whole, and then the voter refuses to run, since it would forget entries
that it had acknowledged. Terms never fall and indexes follow each other, else the tail ends.

Driven by pysyncobj through RaftNode. Any OSError leaves the object unusable: the node stops.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from xxhash import xxh3_64_intdigest

from replicast.disk import Disk, File
from replicast.errors import ReplicastError
from replicast.flexhash.raft.sealed import Damaged, read_sealed, write_sealed, write_whole

JOURNAL, VOTE = "raft.journal", "raft.vote"
JOURNAL_MAGIC, VOTE_MAGIC = b"RCRAFTJ1", b"RCRAFTV1"
HEADER = struct.Struct("<8s16sQ")  # magic, cluster id, salt of the checksums
RECORD = struct.Struct("<IQQQQ")  # command size, checksum, index, term, synced bytes
CHECKED = struct.Struct("<IQQQ")
COMMAND_BYTES_MAX = 1 << 20

Entry = tuple[bytes, int, int]  # command, index, term: pysyncobj's own shape


class NotAVoter(ReplicastError):
    """The state directory is not that of this voter; the text says what to do."""

    reason = "VOTER_STATE"


@dataclass(frozen=True, slots=True)
class Voter:
    """Which voter of which group a state directory belongs to."""

    cluster_id: bytes
    voter_epoch: int
    name: str


class Journal:
    """pysyncobj's journal. `entries` mirrors the file plus what sync() has yet to write."""

    def __init__(self, disk: Disk, directory: Path, voter: Voter, salt: int) -> None:
        self._disk = disk
        self._path = directory / JOURNAL
        self._vote_path = directory / VOTE
        self._voter = voter
        self._salt = salt
        self._file: File | None = None
        self._offsets: list[int] = []  # of entries in the file
        self._end = HEADER.size
        self._synced_index = 0
        self._rewrite = False
        self._vote_dirty = False
        self._term = 0
        self._voted_for: str | None = None
        self.keep_suffix = False  # see transport.py: a matching suffix is never truncated
        self.entries: list[Entry] = []
        self.boot = 0
        self.commit_index = 1

    # -- opening ------------------------------------------------------------------

    @classmethod
    def create(cls, disk: Disk, directory: Path, voter: Voter, salt: int) -> Journal:
        """A new voter's journal. The vote file comes last: with it the voter exists."""
        journal = cls(disk, directory, voter, salt)
        journal._rewrite = journal._vote_dirty = True
        journal.boot = 1
        journal.sync()
        return journal

    @classmethod
    def open(cls, disk: Disk, directory: Path, voter: Voter, salt: int) -> Journal:
        """The journal of a voter that ran before; raises NotAVoter or Damaged."""
        journal = cls(disk, directory, voter, salt)
        journal._read_vote()
        try:
            journal._read_records()
        except FileNotFoundError:
            raise Damaged(f"{journal._path}: missing, and the voter has voted before") from None
        journal.boot += 1
        journal._vote_dirty = True
        journal.sync()
        return journal

    def _read_vote(self) -> None:
        value = read_sealed(self._disk, self._vote_path, VOTE_MAGIC)
        cluster_id, epoch, name, self.boot, self._term, self._voted_for = value
        if Voter(cluster_id, epoch, name) != self._voter:
            raise NotAVoter(f"{self._vote_path}: state of voter {name}, voter epoch {epoch}")

    def _read_records(self) -> None:
        self._file = self._disk.open(self._path)
        # What the last process did not get synced is counted as durable from here on, so it has to
        # be; and after a sync that failed the page cache shows what was never written.
        self._file.sync()
        raw = self._file.read_device(0, self._file.size())
        if len(raw) < HEADER.size:
            raise Damaged(f"{self._path}: no header")
        magic, cluster_id, self._salt = HEADER.unpack_from(raw)
        if magic != JOURNAL_MAGIC or cluster_id != self._voter.cluster_id:
            raise Damaged(f"{self._path}: not a journal of this cluster")
        while (found := self._record(raw, self._end)) is not None:
            entry, end, _ = found
            if self.entries and (entry[1] != self.entries[-1][1] + 1 or entry[2] < self.term):
                break
            self._offsets.append(self._end)
            self.entries.append(entry)
            self._end = end
        self._refuse_damage(raw)
        self._synced_index = self.last_index
        if self._end != len(raw):
            self._file.truncate(self._end)
            self._file.sync()

    def _record(self, raw: bytes, at: int) -> tuple[Entry, int, int] | None:
        if at + RECORD.size > len(raw):
            return None
        size, checksum, index, term, synced = RECORD.unpack_from(raw, at)
        end = at + RECORD.size + size
        if size > COMMAND_BYTES_MAX or end > len(raw):
            return None
        command = raw[at + RECORD.size : end]
        if checksum != self._checksum(command, index, term, synced):
            return None
        return (command, index, term), end, synced

    def _refuse_damage(self, raw: bytes) -> None:
        for at in range(self._end, len(raw) - RECORD.size):
            found = self._record(raw, at)
            if found is not None and found[2] > self._end:
                raise Damaged(f"{self._path}: synced record at {self._end} is damaged")

    def _checksum(self, command: bytes, index: int, term: int, synced: int) -> int:
        head = CHECKED.pack(len(command), index, term, synced)
        return xxh3_64_intdigest(head + command, seed=self._salt)

    # -- state --------------------------------------------------------------------

    @property
    def last_index(self) -> int:
        """Index of the last entry, 0 when there is none."""
        return self.entries[-1][1] if self.entries else 0

    @property
    def term(self) -> int:
        """Term of the last entry, 0 when there is none."""
        return self.entries[-1][2] if self.entries else 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the file, as of the last sync."""
        return self._end

    def entry(self, index: int) -> Entry | None:
        """The entry with this index, if the journal has it."""
        if not self.entries or not self.entries[0][1] <= index <= self.last_index:
            return None
        return self.entries[index - self.entries[0][1]]

    def adopt(self, previous: Entry, last: Entry) -> None:
        """Start at a snapshot's two entries; keep what follows them when they are ours."""
        if self.entry(last[1]) == last and self.entry(previous[1]) == previous:
            self.deleteEntriesTo(previous[1] - self.entries[0][1])
        elif self.entry(last[1]) == last and self.entries[0] == last:
            self.entries.insert(0, previous)
            self._rewrite = True
        else:
            self.clear()
            self.add(*previous)
            self.add(*last)
        self.commit_index = max(self.commit_index, last[1])
        self.sync()

    # -- durability ---------------------------------------------------------------

    def sync(self) -> None:
        """Make every change so far durable; returns at once when there is none."""
        if self._rewrite:
            self._write_anew()
        elif len(self._offsets) < len(self.entries):
            self._append()
        if self._vote_dirty:
            self._write_vote()

    def _write_anew(self) -> None:
        end, pieces = HEADER.size, [self._header()]
        offsets = []
        for entry in self.entries:
            offsets.append(end)
            pieces.append(self._pack(entry, end))  # seen only when all of it is synced
            end += len(pieces[-1])
        if self._file is not None:
            self._file.close()
        write_whole(self._disk, self._path, [b"".join(pieces)])
        self._file = self._disk.open(self._path)
        self._offsets, self._end, self._rewrite = offsets, end, False
        self._synced_index = self.last_index

    def _append(self) -> None:
        assert self._file is not None
        end, pieces, offsets = self._end, [], []
        for entry in self.entries[len(self._offsets) :]:
            offsets.append(end)
            pieces.append(self._pack(entry, self._end))
            end += len(pieces[-1])
        self._file.write(self._end, [b"".join(pieces)])
        self._file.sync()
        self._offsets += offsets
        self._end = end
        self._synced_index = self.last_index

    def _write_vote(self) -> None:
        voter = self._voter
        value = (
            *(voter.cluster_id, voter.voter_epoch, voter.name),
            *(self.boot, self._term, self._voted_for),
        )
        write_sealed(self._disk, self._vote_path, VOTE_MAGIC, value)
        self._vote_dirty = False

    def _header(self) -> bytes:
        return HEADER.pack(JOURNAL_MAGIC, self._voter.cluster_id, self._salt)

    def _pack(self, entry: Entry, synced: int) -> bytes:
        command, index, term = entry
        checksum = self._checksum(command, index, term, synced)
        return RECORD.pack(len(command), checksum, index, term, synced) + command

    # -- pysyncobj's journal (its names) --------------------------------------------

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append an entry; on disk after the next sync()."""
        self.entries.append((command, idx, term))

    def clear(self) -> None:
        """Forget all entries; what is added before the next sync() replaces them as one."""
        self.entries.clear()
        self._rewrite = True
        self._synced_index = 0

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        """Cut the tail from this position on, durably at once: it contradicts the leader."""
        if self.keep_suffix or entryFrom >= len(self.entries):
            return
        del self.entries[entryFrom:]
        self._synced_index = min(self._synced_index, self.last_index)
        if not self._rewrite and entryFrom < len(self._offsets):
            assert self._file is not None
            self._end = self._offsets[entryFrom]
            del self._offsets[entryFrom:]
            self._file.truncate(self._end)
            self._file.sync()

    def deleteEntriesTo(self, entryTo: int) -> None:
        """Cut the head up to this position; the file is replaced at the next sync()."""
        if entryTo > 0:
            del self.entries[:entryTo]
            self._rewrite = True

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> list[Entry]: ...
    def __getitem__(self, item: Any) -> Any:
        return self.entries[item]

    def __len__(self) -> int:
        return len(self.entries)

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        """Remember the commit index (in memory: the leader tells it again after a restart)."""
        if raftCommitIndex > self._synced_index:
            self.sync()
        self.commit_index = raftCommitIndex

    def getRaftCommitIndex(self) -> int:
        """1, or the last entry of the snapshot that was adopted."""
        return self.commit_index

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        """Remember term and vote; durable before the message that tells of them leaves."""
        self._term, self._voted_for = term, votedForNodeId
        self._vote_dirty = True

    def getCurrentTerm(self) -> int:
        """The current term."""
        return self._term

    def getVotedForNodeId(self) -> str | None:
        """Whom this voter voted for in the current term."""
        return self._voted_for

    def onOneSecondTimer(self) -> None:
        """Nothing is put off to a timer."""

    def _destroy(self) -> None:
        if self._file is not None:
            self._file.close()
