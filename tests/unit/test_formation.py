"""replicast/formation.py, founding.py, tokens.py: documents, voters, and who is let in."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from replicast.formation import (
    FormationError,
    Member,
    Parameters,
    choose_voters,
    format_formation,
    identities,
    load_cluster_file,
    load_formation,
    parse_formation,
    save_formation,
    voter_name,
)
from replicast.founding import FormationCore, FoundingState, load_state, save_state
from replicast.keys import Identity, Role, make_cluster_keys, make_key_pair
from replicast.metrics import Counters
from replicast.tokens import Token, TokenError, format_token, make_token, parse_token
from replicast.wire.formation_messages import (
    JoinFormed,
    JoinPending,
    JoinPersisted,
    JoinRefused,
    JoinRequest,
    Where,
)

PUBLIC = [make_key_pair().public for _ in range(8)]
SECRETS = [bytes([n + 1]) * 16 for n in range(8)]


def request(n: int, role: Role = Role.TARGET, secret: bytes | None = None, **labels: str):  # type: ignore[no-untyped-def]
    port = 1000 + 10 * n if role == Role.TARGET else 0
    host = labels.get("address", "127.0.0.1") if port else ""
    wheres = {
        what: Where(host=host, port=port + i if port else 0)
        for i, what in enumerate(("udp", "peer", "control", "raft", "metrics"))
    }
    return JoinRequest(
        secret=SECRETS[n] if secret is None else secret,
        role=role,
        name=labels.get("name", f"t{n}"),
        host=labels.get("host", f"h{n}"),
        zone=labels.get("zone", "z"),
        vdev_count=2 if role == Role.TARGET else 0,
        **wheres,
    )


def make_core(targets: int = 3, gateways: int = 1) -> FormationCore:
    state = FoundingState(
        cluster_id=bytes(range(16)),
        segment_id=5,
        parameters=Parameters(),
        expected={Role.TARGET: targets, Role.GATEWAY: gateways},
        address=("127.0.0.1", 7000),
    )
    core = FormationCore(state, make_cluster_keys(), random.Random(1), Counters())
    for n in range(targets):
        core.add_token(Role.TARGET, SECRETS[n])
    core.add_token(Role.GATEWAY, SECRETS[7])
    return core


def join_all(core: FormationCore, address: str = "127.0.0.1") -> None:
    for n in range(3):
        assert isinstance(core.receive(request(n, address=address), PUBLIC[n]), JoinPending)
    assert isinstance(core.receive(request(7, Role.GATEWAY), PUBLIC[7]), JoinPending)


def refusal(core: FormationCore, message: JoinRequest, key: str) -> str:
    answer = core.receive(message, key)
    assert isinstance(answer, JoinRefused)
    assert core.counters.get("join_refused", answer.reason) >= 1
    return answer.reason


def test_formation__when_all_expected_are_there() -> None:
    core = make_core()
    join_all(core)
    assert core.formed and not core.done
    formed = core.receive(request(0), PUBLIC[0])
    assert isinstance(formed, JoinFormed)
    formation = parse_formation(formed.formation)
    assert formation == core.formation()
    assert len(formation.voters) == 3 and len(formation.of_role(Role.GATEWAY)) == 1
    for key in (*PUBLIC[:3], PUBLIC[7]):
        core.receive(JoinPersisted(node_id=0), key)
    assert core.done


def test_join__repeated_changes_nothing() -> None:
    core = make_core()
    first = core.receive(request(0), PUBLIC[0])
    assert core.take_changed()
    assert core.receive(request(0), PUBLIC[0]) == first
    assert not core.take_changed()


def test_join__a_moved_address_is_taken_over() -> None:
    core = make_core()
    core.receive(request(0), PUBLIC[0])
    core.receive(request(0, host="elsewhere"), PUBLIC[0])
    assert core.state.members[PUBLIC[0]].host == "elsewhere"


def test_token__works_once_for_one_role() -> None:
    core = make_core()
    assert refusal(core, request(0, secret=bytes(16)), PUBLIC[0]) == "unknown_token"
    assert refusal(core, request(0, Role.GATEWAY), PUBLIC[0]) == "wrong_role"
    assert isinstance(core.receive(request(0), PUBLIC[0]), JoinPending)
    assert refusal(core, request(1, secret=SECRETS[0]), PUBLIC[1]) == "used_token"
    assert refusal(core, request(0, Role.GATEWAY), PUBLIC[0]) == "wrong_role"


def test_token__a_refused_request_does_not_use_it_up() -> None:
    core = make_core()
    assert refusal(core, request(0, name="no spaces"), PUBLIC[0]) == "bad_request"
    assert isinstance(core.receive(request(0), PUBLIC[0]), JoinPending)


def test_token__is_kept_as_a_hash_only(tmp_path: Path) -> None:
    core = make_core()
    save_state(tmp_path, core.state)
    text = (tmp_path / "founder.toml").read_text()
    assert SECRETS[0].hex() not in text
    assert (tmp_path / "founder.toml").stat().st_mode & 0o777 == 0o600


def test_join__names_and_addresses_are_unique() -> None:
    core = make_core()
    core.receive(request(0), PUBLIC[0])
    assert refusal(core, request(1, name="t0"), PUBLIC[1]) == "bad_request"
    same = request(0, secret=SECRETS[1], name="t1")
    assert refusal(core, same, PUBLIC[1]) == "bad_request"


def test_join__closed_once_formed() -> None:
    core = make_core()
    core.receive(request(0), PUBLIC[0])
    core.form()
    assert refusal(core, request(1), PUBLIC[1]) == "formed"
    with pytest.raises(ValueError, match="formed already"):
        core.add_token(Role.TARGET, SECRETS[5])


def test_form__needs_a_target() -> None:
    with pytest.raises(ValueError, match="no target"):
        make_core().form()


def test_persisted__from_a_stranger_is_refused() -> None:
    core = make_core()
    join_all(core)
    assert isinstance(core.receive(JoinPersisted(node_id=1), make_key_pair().public), JoinRefused)


def test_state__survives_a_restart_of_the_founder(tmp_path: Path) -> None:
    core = make_core()
    core.receive(request(0), PUBLIC[0])
    save_state(tmp_path, core.state)
    assert load_state(tmp_path) == core.state
    join_all(core)
    core.receive(JoinPersisted(node_id=0), PUBLIC[0])
    save_state(tmp_path, core.state)
    assert load_state(tmp_path) == core.state


@pytest.mark.parametrize("text", ["", "format = 1", "address = 5", "\x00"])
def test_load_state__damage_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "founder.toml").write_text(text)
    with pytest.raises(FormationError, match=r"founder\.toml"):
        load_state(tmp_path)


def target(n: int, host: str, zone: str) -> Member:
    return Member(
        node_id=n, role=Role.TARGET, name=f"t{n}", host=host, zone=zone, public_key=PUBLIC[0]
    )


@pytest.mark.parametrize(
    ("places", "voters"),
    [
        ([("h1", "a")], 1),
        ([("h1", "a"), ("h2", "a")], 1),
        ([("h1", "a"), ("h2", "a"), ("h3", "a"), ("h4", "a")], 3),
        ([("h1", "a")] * 6, 5),
    ],
)
def test_choose_voters__1_3_or_5(places: list[tuple[str, str]], voters: int) -> None:
    assert len(choose_voters([target(n, *place) for n, place in enumerate(places)])) == voters


def test_choose_voters__zones_then_hosts() -> None:
    targets = [target(0, "h0", "a"), target(1, "h1", "a"), target(2, "h2", "b")]
    targets += [target(3, "h3", "b"), target(4, "h4", "c")]
    three = [t for t in targets if t.node_id != 3]
    assert choose_voters(three) == (0, 2, 4)
    one_zone = [target(0, "h0", "a"), target(1, "h0", "a"), target(2, "h1", "a")]
    one_zone.append(target(3, "h2", "a"))
    assert choose_voters(one_zone) == (0, 2, 3)


def test_files__round_trip(tmp_path: Path) -> None:
    core = make_core()
    join_all(core)
    formation = core.formation()
    gateway = formation.of_role(Role.GATEWAY)[0]
    assert identities(formation)[PUBLIC[7]] == Identity(gateway.node_id, Role.GATEWAY)
    save_formation(tmp_path, formation, gateway.node_id)
    assert load_formation(tmp_path) == formation
    cluster = load_cluster_file(tmp_path)
    assert cluster == load_cluster_file(tmp_path / "cluster.toml")
    assert cluster.node_id == gateway.node_id and cluster.role == Role.GATEWAY
    assert cluster.node_key == tmp_path / "node.key"
    assert [v.control for v in cluster.voters] == [v.control for v in formation.voter_members()]
    assert [v.udp for v in cluster.voters] == [("", 0)] * 3
    assert int(voter_name(cluster.voters[0].node_id), 16) == cluster.voters[0].node_id


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("format = 1", "format = 2", "format 2"),
        ('transport = "unicast"', 'transport = "pigeon"', "pigeon"),
        ("copies = 3", 'copies = "3"', r"parameters\.copies"),
        ("copies = 3", "clones = 3", r"parameters\.clones"),
        ('role = "target"', 'role = "king"', "KING"),
        ("voter_epoch = 1", "", "voter_epoch"),
    ],
)
def test_parse_formation__names_what_is_wrong(old: str, new: str, match: str) -> None:
    core = make_core()
    join_all(core)
    text = format_formation(core.formation())
    assert old in text
    with pytest.raises(FormationError, match=match):
        parse_formation(text.replace(old, new, 1))


def test_parse_formation__cut_anywhere_raises_nothing_else() -> None:
    core = make_core()
    join_all(core)
    text = format_formation(core.formation())
    for end in range(0, len(text), 7):
        try:
            parse_formation(text[:end])
        except FormationError:
            continue


def test_formation__ipv6_addresses_stand_in_brackets() -> None:
    core = make_core()
    join_all(core, "fd00::1")
    text = format_formation(core.formation())
    assert 'raft = "[fd00::' in text
    assert parse_formation(text) == core.formation()


@pytest.mark.parametrize("host", ["fe80::1", "FD00::1", "fd00::1%eth0"])
def test_join__an_address_that_others_cannot_use(host: str) -> None:
    assert refusal(make_core(), request(1, address=host), PUBLIC[1]) == "bad_request"


def test_token_text__round_trip_and_typos() -> None:
    token = make_token(Role.GATEWAY, ("fd00::1", 7000), PUBLIC[0])
    line = format_token(token)
    assert parse_token(f"  {line}\n") == token
    assert token.secret.hex() not in repr(token) and "\\x" not in repr(token)
    for broken in ("", "hello", line[:-1], line[:20], line + "A", line.replace("rc1.", "rc1.?")):
        with pytest.raises(TokenError):
            parse_token(broken)
    changed = line[:30] + ("A" if line[30] != "A" else "B") + line[31:]
    with pytest.raises(TokenError, match="incomplete"):
        parse_token(changed)


@pytest.mark.parametrize("founder", [("a b", 7000), ("h\u00f6st", 7000), ("host/..", 1), ("h", 0)])
def test_token_text__of_a_founder_that_is_nowhere(founder: tuple[str, int]) -> None:
    line = format_token(make_token(Role.TARGET, founder, PUBLIC[0]))
    with pytest.raises(TokenError, match="another version"):
        parse_token(line)


def test_token_text__of_an_unknown_role() -> None:
    line = format_token(Token(9, ("h", 1), PUBLIC[0], bytes(16)))  # type: ignore[arg-type]
    with pytest.raises(TokenError, match="another version"):
        parse_token(line)
