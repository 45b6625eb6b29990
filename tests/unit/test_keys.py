"""replicast/keys.py: key files, their modes and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicast.keys import (
    AllowList,
    ClusterKeys,
    Identity,
    KeyFileError,
    KeyPair,
    Role,
    is_public_key,
    load_cluster_keys,
    load_key_pair,
    make_cluster_keys,
    make_key_pair,
    save_cluster_keys,
    save_key_pair,
)


def test_key_pair__round_trip_and_mode(tmp_path: Path) -> None:
    pair = make_key_pair()
    assert is_public_key(pair.public)
    save_key_pair(tmp_path / "node.key", pair)
    save_key_pair(tmp_path / "node.key", pair)
    assert load_key_pair(tmp_path / "node.key") == pair
    assert (tmp_path / "node.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["node.key"]


def test_secrets_are_not_in_a_repr() -> None:
    pair, keys = make_key_pair(), make_cluster_keys()
    assert pair.secret not in repr(pair)
    assert keys.keys[1].hex() not in repr(keys) and repr(keys.keys[1]) not in repr(keys)


def test_load_key_pair__refuses_a_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    save_key_pair(path, make_key_pair())
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_key_pair(path)


def test_load_key_pair__refuses_halves_of_two_pairs(tmp_path: Path) -> None:
    mixed = KeyPair(make_key_pair().public, make_key_pair().secret)
    save_key_pair(tmp_path / "node.key", mixed)
    with pytest.raises(KeyFileError, match="belong together"):
        load_key_pair(tmp_path / "node.key")


def test_load_key_pair__refuses_a_secret_that_is_no_number(tmp_path: Path) -> None:
    save_key_pair(tmp_path / "node.key", KeyPair(make_key_pair().public, "#" * 40))
    with pytest.raises(KeyFileError, match="belong together"):
        load_key_pair(tmp_path / "node.key")


@pytest.mark.parametrize("text", ["", "public = 1", 'public = "a"\nsecret = "b"', "\x00", "a = ["])
def test_load_key_pair__refuses_nonsense(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"node\.key"):
        load_key_pair(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        load_cluster_keys(tmp_path / "cluster.key")


def test_cluster_keys__round_trip_with_two_epochs(tmp_path: Path) -> None:
    keys = ClusterKeys(2, {1: bytes(32), 2: bytes(range(32))})
    save_cluster_keys(tmp_path / "cluster.key", keys)
    assert load_cluster_keys(tmp_path / "cluster.key") == keys


@pytest.mark.parametrize(
    "text",
    [
        "current = 1\n[keys]\n",
        f'current = 2\n[keys]\n1 = "{"00" * 32}"',
        'current = 1\n[keys]\n1 = "00"',
        f'current = 300\n[keys]\n300 = "{"00" * 32}"',
        "current = 1\n[keys]\n1 = 5",
        "current = 1\n[keys]\n" + "".join(f'{n} = "{"00" * 32}"\n' for n in (1, 2, 3)),
    ],
)
def test_load_cluster_keys__refuses(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cluster.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        load_cluster_keys(path)


def test_allow_list__answers_by_key() -> None:
    allow = AllowList({"a": Identity(1, Role.TARGET)})
    allow.add("b", Identity(2, Role.GATEWAY))
    assert allow("a") == Identity(1, Role.TARGET) and allow("c") is None and len(allow) == 2
    allow.revoke("a")
    allow.revoke("a")
    assert allow("a") is None
    allow.replace({})
    assert allow("b") is None
