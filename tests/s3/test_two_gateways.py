"""What one gateway has acknowledged, the next request to the other one sees."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .conftest import client_of, endpoints, refused

PUTS, WRITERS = 1000, 8
HEAD_EVERY = 5  # puts
RACES, RACERS = 12, 8


@pytest.fixture(scope="module")
def both(s3: Any, s3_cluster: Any) -> tuple[Any, Any]:
    """The first user, at either gateway."""
    credentials = s3._request_signer._credentials
    keys = credentials.access_key, credentials.secret_key
    one, two = (client_of(at, *keys, max_pool_connections=WRITERS) for at in endpoints(s3_cluster))
    return one, two


def _at_once(work: Callable[[int], Any], count: int) -> list[Any]:
    """`work` of 0, 1, ... in as many threads."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(work, range(count)))


def _put_and_seen(both: tuple[Any, Any], bucket: str, writer: int) -> None:
    one, two = both
    last = prefix = f"w{writer}/"
    for number in range(writer, PUTS, WRITERS):
        at = {"Bucket": bucket, "Key": f"{prefix}n{number:04}"}
        body = f"{bucket} {number}".encode()
        etag = one.put_object(**at, Body=body)["ETag"]
        seen = two.list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=last)["Contents"]
        found = [(each["Key"], each["ETag"], each["Size"]) for each in seen]
        assert found == [(at["Key"], etag, len(body))]
        if number % HEAD_EVERY == 0:
            assert two.head_object(**at)["ETag"] == etag
        last = at["Key"]


def test_a_thousand_puts__each_seen_at_once(both: tuple[Any, Any], bucket: str) -> None:
    _at_once(lambda writer: _put_and_seen(both, bucket, writer), WRITERS)
    names = sorted(f"w{number % WRITERS}/n{number:04}" for number in range(PUTS))
    for client in both:
        found = client.list_objects_v2(Bucket=bucket)
        assert [each["Key"] for each in found["Contents"]] == names and not found["IsTruncated"]


def test_deletions__seen_at_once(both: tuple[Any, Any], bucket: str) -> None:
    one, two = both
    for number in range(20):
        at = {"Bucket": bucket, "Key": f"n{number}"}
        one.put_object(**at, Body=b"x")
        two.delete_object(**at)
        assert refused(lambda at=at: one.get_object(**at)) == ("NoSuchKey", 404)
        assert "Contents" not in one.list_objects_v2(Bucket=bucket)
        assert "Versions" not in one.list_object_versions(Bucket=bucket)


def test_overwriting__the_old_bytes_are_never_seen_again(
    both: tuple[Any, Any], bucket: str
) -> None:
    at = {"Bucket": bucket, "Key": "k"}
    for number in range(50):
        both[number % 2].put_object(**at, Body=str(number).encode())
        assert both[1 - number % 2].get_object(**at)["Body"].read() == str(number).encode()


@pytest.mark.parametrize("condition", ["IfNoneMatch", "IfMatch"])
def test_conditional_puts__of_those_that_race_one_wins(
    both: tuple[Any, Any], bucket: str, condition: str
) -> None:
    for race in range(RACES):
        at = {"Bucket": bucket, "Key": f"{condition}{race}"}
        when = {"IfNoneMatch": "*"}
        if condition == "IfMatch":
            when = {"IfMatch": both[race % 2].put_object(**at, Body=b"base")["ETag"]}

        def put(racer: int, at: dict[str, str] = at, when: dict[str, str] = when) -> str:
            client = both[racer % 2]
            try:
                return str(client.put_object(**at, **when, Body=f"racer {racer}".encode())["ETag"])
            except client.exceptions.ClientError as error:
                return str(error.response["Error"]["Code"])

        answers = _at_once(put, RACERS)
        won = [each for each in answers if each.startswith('"')]
        lost = [each for each in answers if not each.startswith('"')]
        assert len(won) == 1 and set(lost) == {"PreconditionFailed"}, answers
        for client in both:
            assert client.head_object(**at)["ETag"] == won[0]


def test_versions__the_same_through_both(both: tuple[Any, Any], bucket: str) -> None:
    enabled = {"Status": "Enabled"}
    both[0].put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
    made = []
    for number in range(12):
        at = {"Bucket": bucket, "Key": f"k{number % 3}"}
        client = both[number % 2]
        answer = client.delete_object(**at) if number > 8 else client.put_object(**at, Body=b"x")
        made.append((at["Key"], answer["VersionId"]))
        listings = []
        for each in both:
            found = each.list_object_versions(Bucket=bucket)
            entries = found["Versions"] + found.get("DeleteMarkers", [])
            listings.append(sorted((v["Key"], v["VersionId"], v["IsLatest"]) for v in entries))
        assert listings[0] == listings[1]
        assert sorted(made) == [(key, version) for key, version, _ in listings[0]]


def test_buckets__made_changed_and_deleted_are_known_at_once(both: tuple[Any, Any]) -> None:
    for number in range(6):
        name = f"of-two-gateways-{number}"
        one, two = both[number % 2], both[1 - number % 2]
        one.create_bucket(Bucket=name)
        two.head_bucket(Bucket=name)
        enabled = {"Status": "Enabled"}
        one.put_bucket_versioning(Bucket=name, VersioningConfiguration=enabled)
        assert two.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
        ids = [each.put_object(Bucket=name, Key="k", Body=b"x")["VersionId"] for each in both]
        assert "null" not in ids and len(set(ids)) == 2
        for version in ids:
            two.delete_object(Bucket=name, Key="k", VersionId=version)
        one.delete_bucket(Bucket=name)
        assert refused(lambda name=name, two=two: two.head_bucket(Bucket=name)) == ("404", 404)
        assert name not in [each["Name"] for each in two.list_buckets()["Buckets"]]


@pytest.mark.parametrize("marked", [False, True])
def test_buckets__the_end_of_one_and_a_put_into_it_are_not_both_acknowledged(
    both: tuple[Any, Any], marked: bool
) -> None:
    for number in range(8):
        at = {"Bucket": f"ends-{marked:d}-{number}", "Key": "k"}
        both[0].create_bucket(Bucket=at["Bucket"])
        if marked:
            enabled = {"Status": "Enabled"}
            both[0].put_bucket_versioning(Bucket=at["Bucket"], VersioningConfiguration=enabled)

        def work(who: int, at: dict[str, str] = at, number: int = number) -> str:
            client = both[(who + number) % 2]
            try:
                if who:
                    client.delete_bucket(Bucket=at["Bucket"])
                    return "ended"
                version = client.put_object(**at, Body=b"x").get("VersionId", "null")
            except client.exceptions.ClientError as error:
                return str(error.response["Error"]["Code"])
            if marked:
                client.delete_object(**at)
            return str(version)

        version, ended = _at_once(work, 2)
        if version == "NoSuchBucket":
            assert ended == "ended"
            continue
        assert ended == "BucketNotEmpty", (version, ended)
        for client in both:
            assert client.get_object(**at, VersionId=version)["Body"].read() == b"x"
