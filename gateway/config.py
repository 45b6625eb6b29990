"""Every setting of replicast-gw and of the embedded initiator, once (with gateway/context.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from replicast.config import option
from replicast.gateway.context import ChunkSettings
from replicast.gateway.s3.channel import LOOPBACK, OVER_HTTP
from replicast.units import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class InitiatorConfig(ChunkSettings):
    """What an initiator needs beside the exchange of chunks."""

    PREFIX: ClassVar[str] = "GATEWAY"

    host: str = option(
        "Address for UDP; empty: the one that routes to the first voter.", default=""
    )
    buffer_bytes: int = option(
        "Memory for chunks that are being fetched.", default=64 * MIB, minimum=4 * MIB
    )
    credit_bytes: int = option(
        "Payload that may be under way to this process, if its socket takes as much.",
        default=8 * MIB,
        minimum=MIB,
    )
    pipeline_bytes: int = option(
        "Memory for chunks in flight beyond the first of each put and get.",
        default=32 * MIB,
        minimum=0,
    )
    put_pipeline: int = option("Chunks of one put in flight.", default=8, minimum=1, maximum=64)
    get_read_ahead: int = option("Chunks fetched ahead of a reader.", default=8, minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig(InitiatorConfig):
    """Settings of one gateway daemon."""

    directory: str = option("Folder of this member: cluster.toml and keys.")
    api_socket: str = option("Path of the local API socket.", default="api.sock")
    metrics_host: str = option("Address of /metrics, /healthz and /readyz.", default="127.0.0.1")
    metrics_port: int = option("Its port.", minimum=1, maximum=65_535)
    s3_host: str = option("Address of the S3 server.", default="127.0.0.1")
    s3_port: int = option(
        "Its port for HTTP; 0: S3 is not served over HTTP.", default=0, minimum=0, maximum=65_535
    )
    s3_tls_port: int = option(
        "Its port for HTTPS; 0: S3 is not served over HTTPS.", default=0, minimum=0, maximum=65_535
    )
    s3_tls_certificate: str = option(
        "PEM file: the certificate for HTTPS, then its chain. Read again when it changes.",
        default="",
    )
    s3_tls_key: str = option(
        "PEM file: its private key, mode 0600, without passphrase.", default=""
    )
    s3_domains: str = option(
        "Comma-separated names of hosts whose subdomains are buckets (bucket.s3.example.org); empty: "
        "buckets are in paths only.",
        default="",
    )
    s3_region: str = option(
        "The region of buckets that are made without a location; S3 clients sign for it, or for us-east-1.",
        default="us-east-1",
    )
    s3_region_aliases: str = option(
        "Comma-separated further names of the region: S3 clients can sign for them and make buckets with "
        "them as location. `default` is what Ceph's gateway calls its own.",
        default="default",
    )
    s3_hash_threads: int = option(
        "Threads that hash bodies of S3 requests.", default=2, minimum=1, maximum=64
    )
    s3_signature_v2: bool = option(
        "Whether presigned URLs of signature version 2 are accepted.", default=True
    )
    s3_connections: int = option(
        "Connections of S3 clients; more are told to slow down.", default=1024, minimum=1
    )
    s3_requests: int = option("S3 requests under way at a time.", default=256, minimum=1)
    s3_body_bytes: int = option(
        "Memory for bodies of S3 requests and answers.", default=256 * MIB, minimum=5 * MIB
    )
    s3_waiting: int = option(
        "S3 requests that wait for their turn, and as many for memory; more are told to slow down.",
        default=256,
        minimum=0,
    )
    s3_wait_seconds: float = option(
        "How long they wait before they are told so too.", default=15.0, minimum=0.0, maximum=600.0
    )
    s3_head_seconds: float = option(
        "Time for the whole head of an S3 request, and for a TLS handshake.",
        default=20.0,
        minimum=0.1,
        maximum=3600.0,
    )
    s3_body_seconds: float = option(
        "Time in which some of a body has to come, or to be taken, 16 KiB or its end.",
        default=30.0,
        minimum=0.1,
        maximum=3600.0,
    )
    s3_idle_seconds: float = option(
        "How long a connection of an S3 client may be idle.",
        default=75.0,
        minimum=0.1,
        maximum=3600.0,
    )
    finish_seconds: float = option(
        "How long a gateway that is told to stop lets requests that are under way go on.",
        default=10.0,
        minimum=0.0,
        maximum=600.0,
    )
    s3_sse_c_over_http: str = option(
        "From where keys of customers (SSE-C) are taken over plain HTTP; over HTTPS they always are.",
        default=LOOPBACK,
        choices=OVER_HTTP,
    )
    log_level: str = option(
        "What is logged.", default="info", choices=("debug", "info", "warning", "error")
    )
