"""@frozen: values compare, hash and refuse new fields."""

from __future__ import annotations

from typing import Any

import pytest

from replicast.frozen import frozen


@frozen
class Spot:
    x: int
    y: int = 0


def test_values__compare_and_hash_by_their_fields() -> None:
    assert Spot(1) == Spot(1, 0) != Spot(1, 1)
    assert {Spot(1): "here"}[Spot(1, 0)] == "here"


def test_other_attributes__are_refused() -> None:
    spot: Any = Spot(1)
    with pytest.raises(AttributeError):
        spot.z = 3
    assert not hasattr(spot, "__dict__")
