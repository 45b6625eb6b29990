"""boto3 (newest, and the last one that sent Content-MD5), minio, obstore, the SDK for JavaScript."""

from __future__ import annotations

import sys
from pathlib import Path

from .environments import node
from .program import Program


class Boto3(Program):
    """Checksums CRC32 in headers, none of MD5; the one that the tests themselves use."""

    program = "boto3_tree.py"

    def interpreter(self) -> Path:
        return Path(sys.executable)


class Boto3Of135(Program):
    """Content-MD5, no checksums; many programs have stayed with it."""

    environment = "boto3-1.35.99"
    program = "boto3_tree.py"


class Minio(Program):
    """Signs chunks of bodies over plain HTTP; parts of 5 MiB."""

    environment = "others"
    program = "minio_tree.py"


class Obstore(Program):
    """The object_store of Rust. It knows nothing of buckets."""

    environment = "others"
    program = "obstore_tree.py"
    makes_bucket = False


class JavaScript(Program):
    """@aws-sdk/client-s3 and lib-storage; streams come aws-chunked with a trailer."""

    environment = "javascript"
    program = "javascript_tree.cjs"

    def interpreter(self) -> Path:
        assert self.site.environment is not None
        return node(self.site.environment)

    def keys_environ(self) -> dict[str, str]:
        return super().keys_environ() | {"NODE_PATH": str(self.site.environment / "node_modules")}
