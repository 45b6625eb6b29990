"""flexhash/raft/journal.py, codec.py, sealed.py, snapshot.py: what survives, what is refused."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from replicast.daemon import START_ERRORS
from replicast.disks import RealDisk
from replicast.flexhash.raft import codec
from replicast.flexhash.raft.journal import (
    HEADER,
    JOURNAL,
    RECORD,
    Entry,
    Journal,
    NotAVoter,
    Voter,
)
from replicast.flexhash.raft.sealed import Damaged
from replicast.flexhash.raft.snapshot import Snapshots
from replicast.memory_disk import MemoryDisk, no_fault

VOTER = Voter(bytes(range(16)), 1, "v0")
DISK = RealDisk()
FOLDER = Path("/raft")


def create(path: Path, count: int = 0) -> Journal:
    path.mkdir(exist_ok=True)
    journal = Journal.create(DISK, path, VOTER, salt=7)
    for index in range(1, count + 1):
        journal.add(b"command %d" % index, index, 1)
        journal.sync()
    return journal


def reopen(path: Path) -> Journal:
    return Journal.open(DISK, path, VOTER, salt=9)


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [(b"command %d" % index, index, term) for index in range(first, last + 1)]


def test_journal__keeps_what_was_synced(tmp_path: Path) -> None:
    journal = create(tmp_path, 5)
    journal.setCurrentTerm(4, "v2")
    journal.sync()
    journal.add(b"unsynced", 6, 1)
    again = reopen(tmp_path)
    assert again.entries == entries(1, 5)
    assert (again.getCurrentTerm(), again.getVotedForNodeId()) == (4, "v2")
    assert again.boot == 2 and reopen(tmp_path).boot == 3


def test_journal__truncates_and_goes_on(tmp_path: Path) -> None:
    journal = create(tmp_path, 5)
    journal.deleteEntriesFrom(2)
    journal.add(b"other", 3, 2)
    journal.sync()
    assert reopen(tmp_path).entries == [*entries(1, 2), (b"other", 3, 2)]


def test_journal__keep_suffix_refuses_to_truncate(tmp_path: Path) -> None:
    journal = create(tmp_path, 5)
    journal.keep_suffix = True
    journal.deleteEntriesFrom(2)
    assert len(journal) == 5


def test_journal__drops_its_head(tmp_path: Path) -> None:
    journal = create(tmp_path, 50)
    before = journal.size_bytes
    journal.deleteEntriesTo(40)
    journal.add(b"command 51", 51, 1)
    journal.sync()
    assert journal.size_bytes < before / 3
    again = reopen(tmp_path)
    assert again.entries == entries(41, 51) and again[-1][1] == 51
    assert again.entry(41) == again[0] and again.entry(40) is None and again.entry(52) is None


def test_journal__commit_waits_for_the_sync(tmp_path: Path) -> None:
    journal = create(tmp_path, 2)
    journal.add(b"command 3", 3, 1)
    journal.setRaftCommitIndex(2)
    assert len(reopen(tmp_path)) == 2
    journal.setRaftCommitIndex(3)
    assert len(reopen(tmp_path)) == 3


@pytest.mark.parametrize("cut", [1, 10, RECORD.size, RECORD.size + 3])
def test_journal__torn_tail_is_cut_off(tmp_path: Path, cut: int) -> None:
    create(tmp_path, 3)
    path = tmp_path / "raft.journal"
    path.write_bytes(path.read_bytes()[:-cut])
    journal = reopen(tmp_path)
    kept = 2 if cut <= RECORD.size + len(b"command 3") else 1
    assert journal.entries == entries(1, kept)
    journal.add(b"command %d" % (kept + 1), kept + 1, 1)
    journal.sync()
    assert reopen(tmp_path).entries == entries(1, kept + 1)


def test_journal__hole_in_an_unsynced_tail_is_no_damage(tmp_path: Path) -> None:
    journal = create(tmp_path, 1)
    start = journal.size_bytes
    for index in (2, 3):  # one write, one sync: power may fail with only its end on disk
        journal.add(b"command %d" % index, index, 1)
    journal.sync()
    raw = bytearray((tmp_path / "raft.journal").read_bytes())
    raw[start : start + 8] = bytes(8)
    (tmp_path / "raft.journal").write_bytes(raw)
    assert reopen(tmp_path).entries == entries(1, 1)


def test_journal__damage_before_a_synced_record_is_refused(tmp_path: Path) -> None:
    create(tmp_path, 4)
    raw = bytearray((tmp_path / "raft.journal").read_bytes())
    raw[HEADER.size + RECORD.size + 2] ^= 1
    (tmp_path / "raft.journal").write_bytes(raw)
    with pytest.raises(Damaged, match="is damaged"):
        reopen(tmp_path)


def test_journal__damage_after_a_rewrite_is_refused(tmp_path: Path) -> None:
    journal = create(tmp_path, 6)
    journal.deleteEntriesTo(2)
    journal.sync()
    raw = bytearray((tmp_path / "raft.journal").read_bytes())
    raw[HEADER.size + RECORD.size + 2] ^= 1
    (tmp_path / "raft.journal").write_bytes(raw)
    with pytest.raises(Damaged, match="is damaged"):
        reopen(tmp_path)


def test_journal__command_that_looks_like_a_record(tmp_path: Path) -> None:
    create(tmp_path / "other", 1)
    stolen = (tmp_path / "other" / "raft.journal").read_bytes()[HEADER.size :]
    journal = Journal.create(DISK, tmp_path, VOTER, salt=8)
    journal.add(stolen, 1, 1)
    journal.sync()
    path = tmp_path / "raft.journal"
    path.write_bytes(path.read_bytes()[:-1])
    assert reopen(tmp_path).entries == []


def test_journal__fuzz_a_changed_file_is_a_prefix_or_damage(tmp_path: Path) -> None:
    create(tmp_path, 12)
    path = tmp_path / "raft.journal"
    whole, expected = path.read_bytes(), entries(1, 12)
    rng = random.Random(3)
    damaged = 0
    for _ in range(150):
        raw = bytearray(whole)
        for _ in range(rng.randrange(1, 3)):
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        path.write_bytes(raw[: rng.randrange(len(raw) // 2, len(raw) + 1)])
        try:
            found = reopen(tmp_path).entries
        except Damaged:
            damaged += 1
            continue
        assert found == expected[: len(found)]
    assert 50 < damaged < 150


@pytest.mark.parametrize("name", ["raft.vote", "raft.snapshot"])
def test_sealed__every_flipped_bit_is_seen(tmp_path: Path, name: str) -> None:
    journal = create(tmp_path, 3)
    snapshots = Snapshots(DISK, tmp_path, journal, lambda: b"state", lambda _: None)
    snapshots.serialize((None, journal[2], journal[1], ()), 2)
    path = tmp_path / name
    whole = path.read_bytes()
    for position in range(len(whole)):
        raw = bytearray(whole)
        raw[position] ^= 1
        path.write_bytes(raw)
        with pytest.raises(Damaged):
            again = reopen(tmp_path)
            Snapshots(DISK, tmp_path, again, bytes, lambda _: None).open()


def test_journal__of_another_voter_or_cluster(tmp_path: Path) -> None:
    create(tmp_path, 1)
    for voter in (Voter(bytes(16), 1, "v0"), Voter(VOTER.cluster_id, 2, "v0")):
        with pytest.raises(NotAVoter):
            Journal.open(DISK, tmp_path, voter, salt=1)


def in_memory(count: int) -> tuple[MemoryDisk, Journal]:
    disk = MemoryDisk()
    disk.make_directory(FOLDER)
    journal = Journal.create(disk, FOLDER, VOTER, salt=7)
    for index in range(1, count + 1):
        journal.add(b"command %d" % index, index, 1)
    journal.sync()
    return disk, journal


def test_journal__what_a_failed_sync_left_in_the_page_cache_is_not_there() -> None:
    """Linux shows it, and never writes it: a voter that counts it loses it with the power."""
    disk, journal = in_memory(2)
    journal.add(b"command 3", 3, 1)

    def fail(operation: str, path: Path) -> None:
        if operation == "sync":
            raise OSError(errno.EIO, "sync")

    disk.fault = fail
    with pytest.raises(OSError, match="sync"):
        journal.sync()
    disk.fault = no_fault
    assert Journal.open(disk, FOLDER, VOTER, salt=9).entries == entries(1, 2)


def test_journal__what_a_killed_process_wrote_is_synced_before_it_counts() -> None:
    disk, _ = in_memory(2)
    longer, _ = in_memory(3)
    path = FOLDER / JOURNAL
    disk.open(path).write(0, [longer.files()[path]])
    disk.process_death()
    assert Journal.open(disk, FOLDER, VOTER, salt=9).entries == entries(1, 3)
    disk.power_loss()
    assert Journal.open(disk, FOLDER, VOTER, salt=9).entries == entries(1, 3)


def test_unusable_state__ends_the_daemon_with_one_line() -> None:
    assert issubclass(Damaged, START_ERRORS) and issubclass(NotAVoter, START_ERRORS)


def snapshot_of(path: Path, journal: Journal) -> Snapshots:
    return Snapshots(DISK, path, journal, lambda: b"state " * 200_000, lambda _: None)


@pytest.mark.parametrize(("count", "kept"), [(3, (3, 4)), (4, (3, 4)), (8, (3, 8))])
def test_adopt__suffix_survives_and_gaps_do_not(
    tmp_path: Path, count: int, kept: tuple[int, int]
) -> None:
    source = create(tmp_path / "source", 4)
    snapshot_of(tmp_path, source).serialize((None, source[3], source[2], ()), 3)
    journal = create(tmp_path, count)
    snapshots = snapshot_of(tmp_path, journal)
    snapshots.open()
    assert snapshots.current is not None and snapshots.current[0][1] == 4
    assert journal.entries == entries(*kept) == reopen(tmp_path).entries


def test_snapshot__missing_before_the_journal_starts(tmp_path: Path) -> None:
    journal = create(tmp_path, 5)
    journal.deleteEntriesTo(3)
    journal.sync()
    with pytest.raises(Damaged, match="missing"):
        snapshot_of(tmp_path, reopen(tmp_path)).open()


class _Peer:
    id = "v1"


def test_snapshot__in_pieces_and_with_a_lost_piece(tmp_path: Path) -> None:
    source = create(tmp_path / "a", 4)
    sender = snapshot_of(tmp_path / "a", source)
    assert sender.getTransmissionData(_Peer()) is None
    sender.serialize((None, source[3], source[2], ()), 3)
    journal = create(tmp_path / "b", 1)
    receiver = snapshot_of(tmp_path / "b", journal)

    def send(lose: int = -1) -> list[bool]:
        done, last, number = [], False, 0
        while not last:
            piece = sender.getTransmissionData(_Peer())
            assert piece is not None
            last = piece[2]
            if number != lose:
                done.append(receiver.setTransmissionData(piece))
            number += 1
        return done

    assert not any(send(lose=1))
    done = send()
    assert done[-1] and not any(done[:-1]) and len(done) > 3
    assert receiver.current == sender.current
    journal.adopt(source[2], source[3])
    assert not any(send()), "what is installed already is not installed again"


def test_snapshot__what_the_journal_has_is_not_installed(tmp_path: Path) -> None:
    source = create(tmp_path / "a", 4)
    sender = snapshot_of(tmp_path / "a", source)
    sender.serialize((None, source[3], source[2], ()), 3)
    receiver = snapshot_of(tmp_path / "b", create(tmp_path / "b", 9))
    last = False
    while not last:
        piece = sender.getTransmissionData(_Peer())
        assert piece is not None and not receiver.setTransmissionData(piece)
        last = piece[2]


VALUES = (None, True, False, 0, -1, 2**63 - 1, b"", b"x" * 300, "é", (1, [2, (3,)]), {"a": (b"",)})


def test_codec__round_trip_keeps_tuple_and_list_apart() -> None:
    for value in VALUES:
        found = codec.loads(codec.dumps(value))
        assert found == value and type(found) is type(value)


@pytest.mark.parametrize("value", [1.5, 2**63, {1}, object(), [[[[[[[[[[1]]]]]]]]]]])
def test_codec__refuses_to_encode(value: object) -> None:
    with pytest.raises(codec.CodecError):
        codec.dumps(value)


def test_codec__mutated_bytes_raise_nothing_else() -> None:
    rng = random.Random(1)
    whole = codec.dumps([*VALUES, {"key": [1, 2, 3], "other": (b"bytes", "text")}])
    for _ in range(5000):
        raw = bytearray(whole)
        for _ in range(rng.randrange(1, 5)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        try:
            codec.loads(bytes(raw[: rng.randrange(1, len(raw) + 1)]))
        except codec.CodecError:
            continue
