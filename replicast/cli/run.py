"""How every command runs: errors become one line and an exit code, never a traceback.

Exit codes: 0 done, 1 the operation failed, 2 the request was wrong (bad name, bad
option), 130 interrupted. `status` and `verify` define their own in their help.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import click

from replicast.cli.find import find_cluster
from replicast.errors import InvalidRequest, ReplicastError
from replicast.gateway.api_client import ApiConnection, connect_api


def run(work: Callable[[], Coroutine[Any, Any, int | None]], *, failed: int = 1) -> None:
    """Run a command's coroutine to its end and leave with its exit code."""
    run_plain(lambda: asyncio.run(work()), failed=failed)


def run_plain(work: Callable[[], int | None], *, failed: int = 1) -> None:
    """The same for a command that is a plain function. `failed`: the code of an operation that
    could not be done."""
    try:
        code = work()
    except KeyboardInterrupt:
        click.echo("interrupted: nothing was changed that had not finished", err=True)
        sys.exit(130)
    except InvalidRequest as error:
        fail(str(error), 2)
    except ReplicastError as error:
        fail(f"{error} [{error.reason}]", failed)
    except BrokenPipeError:
        if sys.stderr is not None:
            sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        fail(f"{where}{error.strerror or error}", failed)
    sys.exit(code or 0)


def fail(text: str, code: int) -> None:
    """One line on stderr, then exit."""
    click.echo(f"replicast: {text}", err=True)
    sys.exit(code)


@asynccontextmanager
async def gateway(context: click.Context) -> AsyncIterator[ApiConnection]:
    """A connection to the cluster that the command line names."""
    place = find_cluster(context.find_root().params.get("cluster"))
    async with connect_api(place.api_socket) as connection:
        yield connection


def split_target(target: str, *, need_name: bool = True) -> tuple[str, str]:
    """`bucket/name` as (bucket, name); the name may be empty where a prefix is meant."""
    bucket, _, name = target.partition("/")
    if not bucket or (need_name and not name):
        raise InvalidRequest(f"{target!r}: give BUCKET/NAME")
    return bucket, name
