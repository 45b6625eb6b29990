"""UDP: sockets, the network thread, payload reassembly, multicast groups, the asyncio shell."""
