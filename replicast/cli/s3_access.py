"""The first S3 user of a cluster that `up` made, and how programs find endpoint and keys.

DIR/s3.toml (0600) has the secret: made once, before the user, so that an `up` that was interrupted
makes the same user the next time.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from replicast.addresses import address_text
from replicast.cli.control import control
from replicast.cli.layout import ADMIN
from replicast.cli.users import NewUser, UserAdmin, make_key_id, make_secret
from replicast.errors import InvalidRequest
from replicast.formation import load_cluster_file, toml_pairs
from replicast.keys import load_cluster_keys, write_private
from replicast.machine import Address
from replicast.sealing import SecretSeal

S3_FILE = "s3.toml"
FIRST_USER = "admin"
REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class S3Access:
    """What an S3 client needs."""

    endpoint: str
    key_id: str
    secret: str = field(repr=False)
    region: str = REGION
    ca_bundle: str = ""  # the file with the certificate to trust; "" over HTTP

    def environment(self) -> dict[str, str]:
        """The variables that SDKs and tools read."""
        trust = {"AWS_CA_BUNDLE": self.ca_bundle} if self.ca_bundle else {}
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            **trust,
        }


def load_s3_access(data: Path) -> S3Access:
    """Raises InvalidRequest when `up` has made none here."""
    path = data / S3_FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidRequest(
            f"no {path}: this folder is none that `up` has made; see `replicast user create`"
        ) from None
    access = S3Access(**values)
    if access.ca_bundle:  # named relative to the folder, which may have been moved
        return replace(access, ca_bundle=str(data / access.ca_bundle))
    return access


async def s3_access(data: Path, endpoint: Address, certificate: str = "") -> str:
    """Make the first user, unless there is one; a line that says where its keys are. `certificate`: the
    file in `data` that clients must trust; "" for HTTP."""
    path = data / S3_FILE
    if not path.exists():
        url = f"{'https' if certificate else 'http'}://{address_text(endpoint)}"
        fresh = S3Access(url, make_key_id(), make_secret(), ca_bundle=certificate)
        write_private(path, "\n".join([*toml_pairs(asdict(fresh)), ""]))
    access = load_s3_access(data)
    cluster = load_cluster_file(data / ADMIN)
    seal = SecretSeal(cluster.cluster_id, load_cluster_keys(cluster.cluster_key))
    async with control(data / ADMIN) as plane:
        new = NewUser(name=FIRST_USER, key_id=access.key_id, secret=access.secret)
        await UserAdmin(plane, seal).load([new])
    return f"S3 at {access.endpoint}, key id {access.key_id}, its secret is in {path}"


def s3_example(prefix: str) -> str:
    """A line for a shell that has awscli; `prefix` is the command with what finds the cluster."""
    return f'eval "$({prefix} env --s3)" && aws s3 mb s3://backups && aws s3 ls'
