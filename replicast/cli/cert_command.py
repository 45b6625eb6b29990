"""cert self-signed: a certificate for the S3 gateways, where there is no authority to ask."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

import click

from replicast.certificates import DAYS_MAX, Certificate, make_self_signed
from replicast.cli.run import run_plain
from replicast.errors import InvalidRequest
from replicast.formation import PUBLIC_MODE
from replicast.keys import write_private

CERTIFICATE_FILE, KEY_FILE = "s3.crt", "s3.key"
DAYS = 365


@click.group()
def cert() -> None:
    """Certificates for S3 over HTTPS."""


@cert.command("self-signed")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help=f"Folder for {CERTIFICATE_FILE} and {KEY_FILE}; it is made.",
)
@click.option(
    "--days", default=DAYS, show_default=True, help=f"How long it is valid: to {DAYS_MAX}."
)
@click.option("--replace", is_flag=True, help="Put it in the place of files that are there.")
def self_signed(hosts: tuple[str, ...], out: Path, days: int, replace: bool) -> None:
    """Make a key and a certificate for the names and IP addresses under which clients reach gateways."""

    def work() -> None:
        folder = out.resolve()
        made = write_self_signed(folder, hosts, days, replace=replace)
        certificate, key = folder / CERTIFICATE_FILE, folder / KEY_FILE
        click.echo(f"{certificate}: for {', '.join(hosts)}, until {made.expires_at.isoformat()}")
        click.echo(f"SHA-256 fingerprint: {made.fingerprint}")
        click.echo(f"{key}: keep it secret; nobody else can read it now")
        click.echo("")
        click.echo("gateway.toml (a gateway that serves these files reads them again by itself):")
        click.echo(f'    s3_tls_port = 8443\n    s3_tls_certificate = "{certificate}"')
        click.echo(f'    s3_tls_key = "{key}"')
        click.echo("clients (or --no-verify-ssl, which trusts anybody):")
        click.echo(f"    export AWS_CA_BUNDLE={shlex.quote(str(certificate))}")

    run_plain(work)


def write_self_signed(
    folder: Path, hosts: tuple[str, ...], days: int = DAYS, *, replace: bool = False
) -> Certificate:
    """Both files, each written whole; raises InvalidRequest when one is there already."""
    made = make_self_signed(hosts, days, datetime.now(UTC))
    certificate, key = folder / CERTIFICATE_FILE, folder / KEY_FILE
    for path in (certificate, key):
        if path.exists() and not replace:
            raise InvalidRequest(f"{path} is there already: give --replace")
    folder.mkdir(parents=True, exist_ok=True)
    write_private(key, made.key)
    write_private(certificate, made.certificate, mode=PUBLIC_MODE)
    return made


COMMANDS = (cert,)
