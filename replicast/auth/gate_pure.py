"""What a datagram passes on its way in: the definition (native/_gate.pyx: the twin).

The usual one, of a known session and in one piece, comes out as the message that it is. What
needs more is Held for the endpoint: an authentic one of a session that is not known, or that
is about sessions; and, of a known session, fragments, copies and questions for fragments.
Fragments are Held even when their counter is not new: there may have been no room for them.
Anything else raises WireError, and has changed nothing unless it was authentic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

from replicast.auth.keyring import GROUP_KINDS, group_tag
from replicast.auth.seal_pure import Sealer
from replicast.machine import Address, Group, Incoming, NodeId
from replicast.metrics import Counters
from replicast.wire.codec_pure import WireError, decode
from replicast.wire.header_pure import COPY, HEADER_BYTES, PAIR, Header
from replicast.wire.messages import MESSAGES
from replicast.wire.row_messages import RowAppend, RowStatus
from replicast.wire.session_messages import SESSION_TYPES, FragmentGaps

UDP_TYPE_MAX = 59  # sessions, chunks, names; the rest runs on CURVE channels, but for
PAIR_TYPES = frozenset((RowAppend.TYPE, RowStatus.TYPE))  # which go either way
assert min(PAIR_TYPES) > UDP_TYPE_MAX
TYPE_AT, FLAGS_AT, SENDER_AT = 5, 6, slice(32, 40)  # in a datagram
NO_KEYS: dict[int, bytes] = {}


@final
class Held(NamedTuple):
    """An authentic datagram that is not a message by itself. `known`: of a session that answered.
    `new`: its counter was not seen before."""

    header: Header
    known: bool
    new: bool = True


class Gate:
    """One endpoint's; `mac_keys` of epochs, `heard_keys` of nodes that speak as pairs."""

    def __init__(
        self,
        tag: bytes,
        hears: Callable[[NodeId, int, Group | None, int, Address], bool | None],
        counters: Counters,
    ) -> None:
        """`tag` of this node; `hears`: Sessions.hears()."""
        self.mac_keys: dict[int, bytes] = {}
        self.heard_keys: dict[NodeId, dict[int, bytes]] = {}
        self._tag, self._hears, self._counters = tag, hears, counters
        self._sealer = Sealer()

    def open(self, datagram: bytes, source: Address, group: Group | None) -> Incoming | Held:
        """What `datagram` is that came to the address of `group`. Raises WireError."""
        if group is None:
            kind, tag = 0, self._tag
        else:
            kind, tag = GROUP_KINDS[group.kind], group_tag(group)
        mac_keys = self.mac_keys
        if len(datagram) >= HEADER_BYTES and datagram[FLAGS_AT] & PAIR:
            sender = int.from_bytes(datagram[SENDER_AT], "little")
            mac_keys = self.heard_keys.get(sender, NO_KEYS)
        header = self._sealer.unseal(mac_keys, kind, tag, datagram)
        number = header.type
        if number in SESSION_TYPES:
            return Held(header, False)
        new = self._hears(header.sender, header.session, group, header.counter, source)
        if new is None:
            return Held(header, False)
        if not new and header.fragment_count == 1:
            raise WireError("replay")
        if header.flags & PAIR:
            if number not in PAIR_TYPES:
                raise WireError("unknown_type")
        elif number > UDP_TYPE_MAX or number not in MESSAGES:
            raise WireError("unknown_type")
        if header.fragment_count != 1 or header.flags & COPY or number == FragmentGaps.TYPE:
            return Held(header, True, new)
        message = decode(number, datagram, HEADER_BYTES)
        self._counters.count("messages_received", message.NAME)
        return Incoming(
            message, header.sender, header.operation_id, header.generation, source, group
        )
