"""voters.toml: who votes since a voter was replaced; on every target, gateway and client.

It stands beside formation.toml or cluster.toml, which name the voters as formed, and overrides
them. So whoever is restarted finds the group even when none of the first voters is left. A voter
takes part in the epoch that this file names and in no other; it is written whole, and last.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from replicast.addresses import address_text, parse_address
from replicast.disk import Disk
from replicast.errors import InvalidRequest
from replicast.flexhash.raft.sealed import write_whole
from replicast.flexhash.voters import VoterEntry, VoterSet, voter_set
from replicast.formation import toml_pairs

FORMAT = 1
VOTERS_FILE = "voters.toml"


class VoterFileError(InvalidRequest):
    """A file that cannot be used; the text names it."""


class VoterFile:
    """The file in one folder; `cluster_id` guards against one of another cluster."""

    def __init__(self, disk: Disk, directory: Path, cluster_id: bytes) -> None:
        self._disk, self._cluster_id = disk, cluster_id
        self._path = directory / VOTERS_FILE

    def load(self) -> VoterSet | None:
        """What was saved last; None before the first time. Raises VoterFileError."""
        try:
            file = self._disk.open(self._path)
        except FileNotFoundError:
            return None
        try:
            raw = file.read(0, file.size())
        finally:
            file.close()
        try:
            values = tomllib.loads(raw.decode("utf-8"))
            if values["format"] != FORMAT or values["cluster_id"] != self._cluster_id.hex():
                raise ValueError("of another cluster, or of another version of replicast")
            return voter_set(
                int(values["voter_epoch"]),
                [
                    VoterEntry(
                        int(each["node_id"], 16),
                        parse_address(each["control"]),
                        str(each["public_key"]),
                        parse_address(each["raft"]),
                        str(each["name"]),
                    )
                    for each in values["voters"]
                ],
                bytes.fromhex(values["start"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise VoterFileError(
                f"{self._path}: {error}; copy the file of another member"
            ) from None

    def save(self, voters: VoterSet) -> None:
        """Durable when this returns; raises OSError."""
        lines = [
            *toml_pairs({"format": FORMAT, "cluster_id": self._cluster_id.hex()}),
            *toml_pairs({"voter_epoch": voters.epoch, "start": voters.start.hex()}),
        ]
        for each in voters.voters:
            pairs = {
                "node_id": f"{each.node_id:016x}",
                "name": each.label,
                "public_key": each.public_key,
                "control": address_text(each.control),
                "raft": address_text(each.raft),
            }
            lines += ["", "[[voters]]", *toml_pairs(pairs)]
        self._disk.make_directory(self._path.parent)
        write_whole(self._disk, self._path, [("\n".join(lines) + "\n").encode()])
