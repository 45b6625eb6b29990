"""target/names on a real store (in memory): the versions of a name, delete markers, and the null version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicast.flexhash.versioning import Versioning
from replicast.wire.chunk_messages import Refused
from replicast.wire.name_messages import (
    DELETE_MARKER,
    NO_VERSION,
    NULL_VERSION,
    PARTS,
    UPLOADS,
    NameResult,
)
from replicast.wire.reasons import Reason

from .name_desk import Desk, desk, key, reason

__all__ = ["desk"]


def test_versions__newest_first_each_naming_the_one_before(desk: Desk) -> None:
    made = [desk.put("a").summary for _ in range(5)]
    found = desk.versions("a")
    assert found == list(reversed(made))
    assert [s.replaces for s in made] == [NO_VERSION, *(s.version for s in made[:-1])]
    assert desk.get("a", made[1].version).summary == made[1]


def test_delete__a_marker_then_the_older_version_comes_back(desk: Desk) -> None:
    first = desk.put("a").summary
    marker = desk.delete("a").summary
    assert marker.kind == DELETE_MARKER
    assert reason(desk.get("a")) == Reason.NO_SUCH_NAME
    assert reason(desk.delete("a")) == Reason.NO_SUCH_NAME
    assert not isinstance(desk.delete("a", marker.version), Refused)
    assert desk.get("a").summary == first
    assert reason(desk.delete("a", marker.version)) == Reason.NO_SUCH_NAME


def test_null__takes_the_place_of_the_null_version_before(desk: Desk) -> None:
    desk.keep(Versioning.SUSPENDED)
    first = desk.put("a", null=True).summary
    second = desk.put("a", null=True).summary
    assert first.null and second.null and second.replaces == first.version
    assert desk.versions("a") == [second]
    desk.keep(Versioning.ENABLED)
    kept = desk.put("a").summary
    desk.keep(Versioning.SUSPENDED)
    third = desk.put("a", null=True).summary
    assert desk.versions("a") == [third, kept]
    assert desk.get("a", NULL_VERSION).summary == third
    desk.restart()
    assert desk.versions("a") == [third, kept]


def test_null__several_at_once_leave_one(desk: Desk) -> None:
    """Each is judged against those that were ordered before and are not durable yet."""
    desk.keep(Versioning.OFF)
    for number in range(5):
        desk.submit(desk.put_message("a", null=True, etag=str(number)), bytes([number] * 16))
    assert all(isinstance(reply.message, NameResult) for reply in desk.replies())
    (left,) = desk.versions("a")
    assert left.etag == "4"


def test_null__a_marker_takes_its_place_and_goes_by_the_same_name(desk: Desk) -> None:
    kept = desk.put("a").summary
    desk.keep(Versioning.SUSPENDED)
    desk.put("a", null=True)
    marker = desk.delete("a", null=True).summary
    assert marker.kind == DELETE_MARKER and desk.versions("a") == [marker, kept]
    assert desk.delete("a", NULL_VERSION).summary.version == marker.version
    assert desk.get("a").summary == kept
    assert reason(desk.delete("a", NULL_VERSION)) == Reason.NO_SUCH_NAME
    assert reason(desk.get("a", NULL_VERSION)) == Reason.NO_SUCH_NAME


def test_null__removed_for_good_it_leaves_nothing(desk: Desk) -> None:
    desk.keep(Versioning.OFF)
    only = desk.put("a", null=True).summary
    assert desk.delete("a", NULL_VERSION).summary.version == only.version
    assert desk.versions("a") == []


@pytest.mark.parametrize("heard", [False, True])
def test_versioning__the_leader_knows_better_than_gateways(desk: Desk, heard: bool) -> None:
    """Each request as of a gateway that has heard of the change, and of one that has not."""
    desk.keep(Versioning.OFF)
    desk.put("a", null=heard)
    second = desk.put("a", null=heard).summary
    assert second.null and desk.versions("a") == [second]
    desk.keep(Versioning.ENABLED)
    third = desk.put("a", null=not heard).summary
    assert not third.null and desk.versions("a") == [third, second]
    by_old_setting = {"version": NULL_VERSION, "null": True}
    marker = desk.delete("a", **({} if heard else by_old_setting)).summary
    assert marker.kind == DELETE_MARKER and not marker.null
    assert desk.versions("a") == [marker, third, second]
    desk.keep(Versioning.SUSPENDED)
    fourth = desk.put("a", null=heard).summary
    assert fourth.null and desk.versions("a") == [fourth, marker, third]
    markers = [desk.delete("a", null=heard, absent_too=True).summary for _ in range(2)]
    assert all(each.null for each in markers)
    assert desk.versions("a") == [markers[1], marker, third]


def test_versioning__of_what_is_named_by_its_id_it_says_nothing(desk: Desk) -> None:
    kept = desk.put("a").summary
    desk.keep(Versioning.SUSPENDED)
    null = desk.put("a").summary
    desk.keep(Versioning.ENABLED)
    assert desk.delete("a", NULL_VERSION).summary.version == null.version
    assert desk.delete("a", kept.version).summary.version == kept.version
    assert desk.versions("a") == []


def test_delete__a_marker_for_what_is_not_there_when_asked_for(desk: Desk) -> None:
    assert reason(desk.delete("a")) == Reason.NO_SUCH_NAME
    marks = [desk.delete("a", absent_too=True).summary for _ in range(2)]
    assert desk.versions("a") == list(reversed(marks))
    assert reason(desk.get("a")) == Reason.NO_SUCH_NAME


@pytest.mark.parametrize("space", [UPLOADS, PARTS])
def test_space__names_of_its_own_in_the_same_bucket(desk: Desk, space: int) -> None:
    apart = replace(key("a"), bucket_incarnation=1 | space)
    there = desk.put("a", key=apart, etag="apart").summary
    here = desk.put("a").summary
    assert desk.versions("a") == [here]
    request = replace(desk.list_message(), bucket_incarnation=1 | space)
    assert [entry.summary for entry in desk.ask(request).entries] == [there]
