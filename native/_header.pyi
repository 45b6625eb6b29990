from collections.abc import Mapping

from replicast.wire.codec_pure import Buffer
from replicast.wire.header_pure import Header

def pack_header(
    type: int,
    flags: int,
    key_epoch: int,
    generation: int,
    operation_id: bytes,
    sender: int,
    session: int,
    counter: int,
    fragment_index: int,
    fragment_count: int,
    body_bytes: int,
) -> bytes: ...
def parse_header(datagram: Buffer) -> Header: ...

class Sealer:
    def seal(
        self,
        mac_key: bytes,
        tag: bytes,
        type: int,
        flags: int,
        key_epoch: int,
        generation: int,
        operation_id: bytes,
        sender: int,
        session: int,
        counter: int,
        fragment_index: int,
        fragment_count: int,
        body: bytes,
    ) -> bytes: ...
    def unseal(
        self, mac_keys: Mapping[int, bytes], kind: int, tag: bytes, datagram: Buffer
    ) -> Header: ...
