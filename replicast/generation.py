"""Generation ids: 16 bits recovery epoch, 48 bits counter, one strictly increasing u64 (DESIGN 3)."""

COUNTER_BITS = 48
COUNTER_MASK = (1 << COUNTER_BITS) - 1


def make_generation(recovery_epoch: int, counter: int) -> int:
    """The u64 generation; raises ValueError when a part does not fit."""
    if not 0 <= recovery_epoch < 1 << 16 or not 0 <= counter <= COUNTER_MASK:
        raise ValueError(f"generation out of range: epoch {recovery_epoch}, counter {counter}")
    return recovery_epoch << COUNTER_BITS | counter


def format_generation(generation: int) -> str:
    """`epoch.counter`, as people see it everywhere."""
    return f"{generation >> COUNTER_BITS}.{generation & COUNTER_MASK}"
