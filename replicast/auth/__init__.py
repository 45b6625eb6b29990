"""Who sent a datagram, and is it new: keys, sessions, the endpoint in front of all cores."""
