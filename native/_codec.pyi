from replicast.wire.codec_pure import Buffer
from replicast.wire.header_pure import Header
from replicast.wire.schema import Message

def encode(message: Message) -> bytes: ...
def decode(number: int, body: Buffer) -> Message: ...
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
