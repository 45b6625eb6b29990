"""What a request says about its own signature, in the Authorization header or in its query.

Parsed and held against the clock; who signed it is not known before sigv4.verify() has compared.
Sources: Amazon S3 API reference, "Using the Authorization Header" and "Using Query Parameters";
codes and sentences as the service gives them; ceph/s3-tests where it insists on another status.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replicast.gateway.s3.canonical import ALGORITHM, SIGNATURE_PARAMETER
from replicast.gateway.s3.dates import (
    amz_date,
    is_day,
    iso_seconds,
    parse_amz_date,
    parse_http_date,
)
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.payload import HEADER as PAYLOAD_HEADER
from replicast.gateway.s3.payload import Payload
from replicast.gateway.s3.signing_keys import SERVICE, TERMINAL
from replicast.units import SECOND

SKEW_NS = 15 * 60 * SECOND
EXPIRES_SECONDS_MAX = 7 * 24 * 60 * 60

# Any of these in a query makes it a presigned one; then all of them have to be there.
_PARAMETERS_ALWAYS = ("X-Amz-Algorithm", "X-Amz-Credential", SIGNATURE_PARAMETER)
_PARAMETERS = (*_PARAMETERS_ALWAYS, "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires")
_PAYLOAD_PARAMETER = "X-Amz-Content-Sha256"
_CLAIMING = frozenset(name.encode() for name in _PARAMETERS_ALWAYS)
_VERSION_2 = {b"AWSAccessKeyId", b"Signature"}
_COMPONENTS = ("Credential", "SignedHeaders", "Signature")

_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_NUMBER = re.compile(r"-?[0-9]{1,18}")

_Malformed = Callable[[str], S3Error]


@dataclass(frozen=True, slots=True)
class Claim:
    """`signed_headers`: in lower case, sorted, once each. `payload`: what stands for the body in
    the canonical request. `timestamp`: in the basic format, within the limits of the clock."""

    key_id: str
    day: str
    region: str
    timestamp: str
    signed_headers: tuple[str, ...]
    signature: str
    payload: str
    presigned: bool

    @property
    def scope(self) -> str:
        """What the signing key is good for."""
        return f"{self.day}/{self.region}/{SERVICE}/{TERMINAL}"


def claim_of(head: Head, now_ns: int, regions: Sequence[str]) -> Claim:
    """The one claim of a request: AccessDenied without any, InvalidArgument with two.

    `now_ns`: since 1970. `regions`: those that are accepted, the first is named to others; none
    accepts all.
    """
    authorization, presigned, version_2 = _forms(head)
    if authorization and (presigned or version_2):
        raise S3Error(
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature "
            "query string parameter or the Authorization header should be specified",
            ArgumentName="Authorization",
        )
    if version_2 or authorization.split(" ")[0] == "AWS":
        raise _version_2_error(authorization)
    if presigned:
        return _from_query(head, now_ns, regions)
    if authorization:
        return _from_header(head, authorization, now_ns, regions)
    raise S3Error("AccessDenied")


def is_unsigned(head: Head) -> bool:
    """Whether a request does not even claim to be somebody's."""
    return not any(_forms(head))


def _forms(head: Head) -> tuple[str, bool, bool]:
    """The Authorization header; whether the query claims to be signed, by version 4, by version 2."""
    names = head.query_names
    presigned = not names.isdisjoint(_CLAIMING)
    return (head.header("authorization") or "").strip(), presigned, names >= _VERSION_2


def check_signed_headers(head: Head, signed: Sequence[str]) -> None:
    """Whoever forwards a request may add headers; those that S3 acts upon have to be signed."""
    missing = [name for name in head.headers if name.startswith("x-amz-") and name not in signed]
    if "host" not in signed:
        missing.append("host")
    if missing:
        raise S3Error(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            HeadersNotSigned=", ".join(sorted(missing)),
        )


def _version_2_error(authorization: str) -> S3Error:
    if authorization and ":" not in authorization:
        return S3Error(
            "InvalidArgument",
            "AWS authorization header is invalid. Expected AwsAccessKeyId:signature",
            ArgumentName="Authorization",
        )
    return S3Error(
        "InvalidRequest",
        "The authorization mechanism you have provided is not supported. "
        "Please use AWS4-HMAC-SHA256.",
    )


def _header_malformed(what: str) -> S3Error:
    return S3Error("AuthorizationHeaderMalformed", f"The authorization header is malformed; {what}")


def _query_malformed(what: str) -> S3Error:
    return S3Error("AuthorizationQueryParametersError", what)


def _from_header(head: Head, authorization: str, now_ns: int, regions: Sequence[str]) -> Claim:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise S3Error(
            "InvalidArgument", "Unsupported Authorization Type", ArgumentName="Authorization"
        )
    timestamp = _header_timestamp(head, now_ns)
    parts = _components(rest)
    key_id, day, region = _credential(parts["Credential"], regions, _header_malformed)
    if day != timestamp[:8]:
        raise _header_malformed("Invalid credential date. Date is not the same as X-Amz-Date.")
    payload = head.header(PAYLOAD_HEADER)
    if payload is None:
        raise S3Error(
            "InvalidRequest", f"Missing required header for this request: {PAYLOAD_HEADER}"
        )
    return Claim(
        key_id=key_id,
        day=day,
        region=region,
        timestamp=timestamp,
        signed_headers=_signed_headers(parts["SignedHeaders"], _header_malformed),
        signature=parts["Signature"],
        payload=payload.strip(),
        presigned=False,
    )


def _header_timestamp(head: Head, now_ns: int) -> str:
    """x-amz-date when there is one, else Date. What of it was altered no longer fits the signature,
    for the time is part of what is signed."""
    given = head.header("x-amz-date")
    if given is None:
        date = (head.header("date") or "").strip()
        moment_ns = parse_amz_date(date)
        moment_ns = parse_http_date(date) if moment_ns is None else moment_ns
    else:
        moment_ns = parse_amz_date(given.strip())
    if moment_ns is None:
        raise S3Error(
            "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"
        )
    if abs(now_ns - moment_ns) > SKEW_NS:
        raise S3Error(
            "RequestTimeTooSkewed",
            RequestTime=iso_seconds(moment_ns),
            ServerTime=iso_seconds(now_ns),
            MaxAllowedSkewMilliseconds=str(SKEW_NS // 1_000_000),
        )
    return amz_date(moment_ns)


def _components(text: str) -> dict[str, str]:
    """Name and value of each component; blanks around them and their order do not matter."""
    if not text.isascii():
        raise _header_malformed("it is not ASCII.")
    found: dict[str, str] = {}
    for part in text.split(","):
        name, separator, value = part.strip().partition("=")
        if not separator or not value or name in found or name not in _COMPONENTS:
            raise _header_malformed(f"the authorization component {part.strip()!a} is malformed.")
        found[name] = value
    for name in _COMPONENTS:
        if name not in found:
            raise _header_malformed(f"missing {name}.")
    return found


def _credential(text: str, regions: Sequence[str], malformed: _Malformed) -> tuple[str, str, str]:
    """Key id, day and region. A key id may have slashes, so they are counted from the end."""
    parts = text.rsplit("/", 4)
    if len(parts) != 5 or not all(parts):
        raise malformed(
            "the Credential is mal-formed; expecting "
            '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    key_id, day, region, service, terminal = parts
    if terminal != TERMINAL:
        raise malformed(f"incorrect terminal {terminal!a}. This endpoint uses {TERMINAL!a}.")
    if service != SERVICE:
        raise malformed(f"incorrect service {service!a}. This endpoint belongs to {SERVICE!a}.")
    if not is_day(day):
        raise malformed(
            f"incorrect date format {day!a}. "
            'This date in the credential must be in the format "yyyyMMdd".'
        )
    if regions and region not in regions:
        wrong = malformed(f"the region {region!a} is wrong; expecting {regions[0]!a}")
        wrong.fields["Region"] = regions[0]  # SDKs read it, and sign anew for that one
        raise wrong
    return key_id, day, region


def _signed_headers(text: str, malformed: _Malformed) -> tuple[str, ...]:
    names = sorted({name.strip() for name in text.lower().split(";")})
    if not all(map(_TOKEN.fullmatch, names)):
        raise malformed("the SignedHeaders are mal-formed.")
    return tuple(names)


def _from_query(head: Head, now_ns: int, regions: Sequence[str]) -> Claim:
    given = _parameters(head)
    if not all(given.get(name) for name in _PARAMETERS):
        raise _query_malformed(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, "
            "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and "
            "X-Amz-Expires parameters."
        )
    if given["X-Amz-Algorithm"] != ALGORITHM:
        raise _query_malformed(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    key_id, day, region = _credential(
        given["X-Amz-Credential"],
        regions,
        lambda what: _query_malformed(f"Error parsing the X-Amz-Credential parameter; {what}"),
    )
    timestamp = given["X-Amz-Date"]
    moment_ns = parse_amz_date(timestamp)
    if moment_ns is None:
        raise _query_malformed(
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
        )
    if day != timestamp[:8]:
        raise _query_malformed(
            f"Invalid credential date {day!a}. "
            f"This date is not the same as X-Amz-Date: {timestamp[:8]!a}."
        )
    _check_validity(moment_ns, given["X-Amz-Expires"], now_ns)
    return Claim(
        key_id=key_id,
        day=day,
        region=region,
        timestamp=timestamp,
        signed_headers=_signed_headers(given["X-Amz-SignedHeaders"], _query_malformed),
        signature=given[SIGNATURE_PARAMETER],
        payload=_presigned_payload(head, given.get(_PAYLOAD_PARAMETER)),
        presigned=True,
    )


def _parameters(head: Head) -> dict[str, str]:
    """Those that concern the signature: each once, in ASCII."""
    wanted = {name.encode(): name for name in (*_PARAMETERS, _PAYLOAD_PARAMETER)}
    found: dict[str, str] = {}
    for raw, value in head.query_pairs:
        if (name := wanted.get(raw)) is None:
            continue
        if name in found:
            raise _query_malformed(f"{name} is given more than once.")
        if not value.isascii():
            raise _query_malformed(f"{name} is not ASCII.")
        found[name] = value.decode()
    return found


def _check_validity(moment_ns: int, expires: str, now_ns: int) -> None:
    """From X-Amz-Date on, for X-Amz-Expires seconds, at most a week."""
    if not _NUMBER.fullmatch(expires):
        raise _query_malformed("X-Amz-Expires should be a number")
    seconds = int(expires)
    if not 0 <= seconds <= EXPIRES_SECONDS_MAX:
        # The service has 400 AuthorizationQueryParametersError for this; s3-tests insists on 403.
        raise S3Error(
            "AccessDenied",
            f"X-Amz-Expires must be non-negative and at most {EXPIRES_SECONDS_MAX} seconds",
        )
    if moment_ns > now_ns + SKEW_NS:
        raise S3Error("AccessDenied", "Request is not valid yet", ServerTime=iso_seconds(now_ns))
    until_ns = moment_ns + seconds * SECOND
    if seconds == 0 or now_ns > until_ns:
        raise S3Error(
            "AccessDenied",
            "Request has expired",
            Expires=iso_seconds(until_ns),
            ServerTime=iso_seconds(now_ns),
            **{"X-Amz-Expires": expires},
        )


def _presigned_payload(head: Head, parameter: str | None) -> str:
    """Who presigns rarely knows the body; those who do say so in the query or in a signed header."""
    header = head.header(PAYLOAD_HEADER)
    if parameter is not None and header is not None and parameter != header.strip():
        raise _query_malformed(f"{_PAYLOAD_PARAMETER} is not what {PAYLOAD_HEADER} says.")
    given = parameter if parameter is not None else header
    return Payload.UNSIGNED.value if given is None else given.strip()
