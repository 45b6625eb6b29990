from replicast.machine import Address
from replicast.native._reassembly import Reassembly

class NetThread:
    """Fast twin of replicast.transport.net_pure.NetThread."""

    reassembly: Reassembly
    def __init__(
        self,
        reassembly: Reassembly,
        *,
        control_count_max: int = 8192,
        control_bytes_max: int = ...,
        jobs_max: int = 1024,
        job_bytes_max: int = ...,
    ) -> None: ...
    def add_socket(self, fd: int, tag: int) -> None: ...
    def remove_socket(self, tag: int) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def fileno(self) -> int: ...
    def take(self) -> tuple[list[tuple[int, bytes, Address]], list[bytes], list[int]]: ...
    def send_control(self, datagrams: list[tuple[int, bytes, Address]]) -> int: ...
    def submit_payload(
        self,
        job_id: int,
        tag: int,
        transfer_id: bytes,
        sender: int,
        buffer: bytes | bytearray | memoryview,
        ranges: list[tuple[int, int]],
        datagram_bytes: int,
        size_bytes: int,
        addresses: list[Address],
    ) -> bool: ...
    @property
    def send_too_long(self) -> int: ...
    def stats(self) -> dict[str, int]: ...
