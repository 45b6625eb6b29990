"""user create, list, disable, enable, rotate, load: who may use the S3 gateways."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click

from replicast.cli.control import control, folder_of
from replicast.cli.run import run
from replicast.cli.text import name_text, table_text
from replicast.cli.users import NewUser, UserAdmin, make_key_id, make_secret, users_in
from replicast.errors import InvalidRequest
from replicast.flexhash.commands import UserState
from replicast.formation import load_cluster_file
from replicast.keys import check_private, load_cluster_keys, read_private_toml
from replicast.sealing import SecretSeal
from replicast.wire.user_messages import UserInfo

SECRET_FILE_BYTES_MAX = 1024
secret_file = click.option(
    "--secret-file", type=click.Path(path_type=Path), metavar="FILE",
    help="Take the secret from the first line of FILE (mode 0600).",
)  # fmt: skip
secret_stdin = click.option(
    "--secret-stdin", is_flag=True, help="Take the secret from the first line of standard input."
)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.group()
def user() -> None:
    """Look after the users of the S3 gateways. An administrator's identity is needed."""


@asynccontextmanager
async def user_admin(context: click.Context) -> AsyncIterator[UserAdmin]:
    """A connection to the control plane that knows the cluster key."""
    folder = folder_of(context)
    cluster = load_cluster_file(folder)
    seal = SecretSeal(cluster.cluster_id, load_cluster_keys(cluster.cluster_key))
    async with control(folder) as plane:
        yield UserAdmin(plane, seal)


@user.command("create")
@click.argument("name")
@click.option("--key-id", help="Default: 20 random upper-case letters and digits.")
@secret_file
@secret_stdin
@click.option("--canonical-id", default="", help="Default: 64 random hex digits.")
@click.option("--display-name", default="", help="Default: NAME.")
@as_json
@click.pass_context
def user_create(
    context: click.Context,
    name: str,
    key_id: str | None,
    secret_file: Path | None,
    secret_stdin: bool,
    canonical_id: str,
    display_name: str,
    as_json: bool,
) -> None:
    """Make user NAME. A secret that was not given is made, and shown this once."""

    async def work() -> None:
        given = _given_secret(secret_file, secret_stdin)
        new = NewUser(
            name=name,
            key_id=make_key_id() if key_id is None else key_id,
            secret=make_secret() if given is None else given,
            canonical_id=canonical_id,
            display_name=display_name,
        )
        async with user_admin(context) as admin:
            made = await admin.create(new)
        shown = {
            "name": name,
            "key_id": made.key_id,
            "canonical_id": made.canonical_id,
            "display_name": made.display_name,
        }
        _show(shown, None if given is not None else new.secret, as_json)

    run(work)


@user.command("list")
@as_json
@click.pass_context
def user_list(context: click.Context, as_json: bool) -> None:
    """Show all users; never a secret."""

    async def work() -> None:
        async with user_admin(context) as admin:
            users = await admin.users()
        if as_json:
            for each in users:
                click.echo(json.dumps(report_of(each)))
            return
        rows = [
            (u.name, u.key_id, _state(u), u.canonical_id, name_text(u.display_name)) for u in users
        ]
        click.echo(table_text(("USER", "KEY ID", "STATE", "CANONICAL ID", "DISPLAY NAME"), rows))

    run(work)


@user.command("disable")
@click.argument("name")
@click.pass_context
def user_disable(context: click.Context, name: str) -> None:
    """Shut user NAME out. What belongs to it stays its own."""
    _set_state(context, name, UserState.DISABLED)


@user.command("enable")
@click.argument("name")
@click.pass_context
def user_enable(context: click.Context, name: str) -> None:
    """Let user NAME in again, with the same key."""
    _set_state(context, name, UserState.ACTIVE)


def _set_state(context: click.Context, name: str, state: UserState) -> None:
    async def work() -> None:
        async with user_admin(context) as admin:
            await admin.set_state(name, state)
        click.echo(f"user {name} is {state.name.lower()}")

    run(work)


@user.command("rotate")
@click.argument("name")
@secret_file
@secret_stdin
@as_json
@click.pass_context
def user_rotate(
    context: click.Context,
    name: str,
    secret_file: Path | None,
    secret_stdin: bool,
    as_json: bool,
) -> None:
    """Give user NAME another secret; the old one is refused from then on."""

    async def work() -> None:
        given = _given_secret(secret_file, secret_stdin)
        secret = make_secret() if given is None else given
        async with user_admin(context) as admin:
            rotated = await admin.rotate(name, secret)
        shown = {"name": name, "key_id": rotated.key_id}
        _show(shown, None if given is not None else secret, as_json)

    run(work)


@user.command("load")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
def user_load(context: click.Context, file: Path) -> None:
    """Make the users in FILE (TOML, mode 0600; - for standard input) that are not there yet.

    Nothing is made when one is there and differs from FILE.
    """

    async def work() -> None:
        users = users_in(_toml(file), str(file))
        async with user_admin(context) as admin:
            made = await admin.load(users)
        click.echo(f"{len(made)} made, {len(users) - len(made)} there already")

    run(work)


def report_of(each: UserInfo) -> dict[str, Any]:
    """JSON-ready, without the secret; `key_epoch` names the cluster key that sealed it."""
    return {
        "name": each.name,
        "key_id": each.key_id,
        "state": _state(each),
        "canonical_id": each.canonical_id,
        "display_name": each.display_name,
        "key_epoch": each.secret.key_epoch,
        "revision": each.revision,
    }


def _state(each: UserInfo) -> str:
    return UserState(each.state).name.lower()


def _show(shown: dict[str, str], made_secret: str | None, as_json: bool) -> None:
    if made_secret is not None:
        shown = shown | {"secret": made_secret}
    if as_json:
        click.echo(json.dumps(shown))
        return
    for key, value in shown.items():
        click.echo(f"{key.replace('_', ' '):<13} {name_text(value)}")
    if made_secret is not None:
        click.echo("Keep the secret: it is not shown again.", err=True)


def _given_secret(path: Path | None, from_stdin: bool) -> str | None:
    """The secret that the caller has; None: to be made."""
    if path is not None and from_stdin:
        raise InvalidRequest("give --secret-file or --secret-stdin, not both")
    if from_stdin:
        return _first_line(sys.stdin.buffer.read(SECRET_FILE_BYTES_MAX))
    if path is None:
        return None
    with path.open("rb") as file:
        check_private(path, file.fileno())
        return _first_line(file.read(SECRET_FILE_BYTES_MAX))


def _first_line(data: bytes) -> str:
    line = data.split(b"\n", 1)[0].removesuffix(b"\r")
    return line.decode("ascii", errors="replace")  # what is no ASCII is refused as a secret


def _toml(path: Path) -> dict[str, Any]:
    if os.fspath(path) != "-":
        return read_private_toml(path)
    try:
        return tomllib.loads(sys.stdin.buffer.read().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise InvalidRequest("standard input: not valid TOML") from None


COMMANDS = (user,)
