"""Server-side encryption of the S3 gateway: which key a request may use, and for what.

    writes   wanted() says what the head asks for, sealer() makes the one of a put
    uploads  upload() is kept with the upload, part() seals a part of it, completion() binds them together
    reads    opener() checks the customer's key and the body's root before a byte is fetched
    copies   rebinder() where the bytes can stay as they are

How keys are kept and what is bound to what: sse_envelope.py, sse_cipher.py. Who is kept out of what:
docs/s3-encryption.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from replicast.flexhash.commands import BucketEncryption
from replicast.gateway.manifest import metadata_of
from replicast.gateway.s3 import sse_headers as headers
from replicast.gateway.s3.call import Call
from replicast.gateway.s3.channel import is_private
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.sse_bodies import (
    BodyOpener,
    BodySealer,
    Rebinder,
    Tools,
    UploadBinder,
)
from replicast.gateway.s3.sse_cipher import KEY_BYTES
from replicast.gateway.s3.sse_envelope import (
    RANDOM_BYTES,
    Envelope,
    Method,
    Place,
    WrongKey,
    read_envelope,
)
from replicast.gateway.s3.sse_headers import CustomerKey, Wanted, answered
from replicast.gateway.sealed import SEALED, SealBroken
from replicast.wire.control_messages import BucketInfo
from replicast.wire.documents import ManifestBody


class Encryption:
    """One per gateway process. `over_http`: one of channel.OVER_HTTP."""

    def __init__(self, tools: Tools, over_http: str) -> None:
        self._tools, self._over_http = tools, over_http

    # -- what requests ask for ------------------------------------------------------

    def wanted(self, call: Call, bucket: BucketInfo) -> Wanted:
        """Of a request that makes an object or an upload in `bucket`; raises S3Error."""
        asked = headers.wanted(_head(call), private=self._is_private(call))
        if not asked.sealed and bucket.encryption == BucketEncryption.SERVER:
            return Wanted(server=True)
        return asked

    def customer(self, call: Call) -> CustomerKey | None:
        """Of a request about what is there; raises S3Error."""
        return headers.customer_of_other_request(_head(call), private=self._is_private(call))

    def copy_source_customer(self, call: Call) -> CustomerKey | None:
        """For the source of a copy; raises S3Error."""
        private = self._is_private(call)
        return headers.customer_key(_head(call), headers.COPY_SOURCE, private=private)

    def _is_private(self, call: Call) -> bool:
        return is_private(call.url, call.peer, self._over_http)

    # -- writes ---------------------------------------------------------------------

    def sealer(self, wanted: Wanted, place: Place) -> BodySealer | None:
        """None: to be kept as it is."""
        if not wanted.sealed:
            return None
        data_key = self._tools.random_bytes(KEY_BYTES)
        return BodySealer(self._tools, data_key, self._wrap(data_key, wanted, place), place)

    def _wrap(self, data_key: bytes, wanted: Wanted, place: Place) -> Envelope:
        key = wanted.customer.key if wanted.customer is not None else None
        noise = self._tools.random_bytes(RANDOM_BYTES)
        return self._tools.seal.wrap(data_key, place, key, noise)

    # -- uploads --------------------------------------------------------------------

    def upload(self, wanted: Wanted, place: Place) -> dict[str, str]:
        """Metadata of the upload's record: the data key of all its parts."""
        if not wanted.sealed:
            return {}
        return {SEALED: self._wrap(self._tools.random_bytes(KEY_BYTES), wanted, place).text}

    def part(
        self,
        metadata: Mapping[str, str],
        place: Place,
        upload_id: str,
        number: int,
        customer: CustomerKey | None,
    ) -> BodySealer | None:
        """Of a part of the upload with this metadata, to the object at `place`. Raises S3Error,
        SealBroken."""
        envelope = self._check_upload(metadata, place, customer)
        if envelope is None:
            return None
        data_key = self._unwrap(envelope, place, customer)
        return BodySealer(self._tools, data_key, envelope, place.part(upload_id, number))

    def completion(
        self,
        metadata: Mapping[str, str],
        place: Place,
        upload_id: str,
        customer: CustomerKey | None,
    ) -> UploadBinder | None:
        """What makes one object of the parts. The customer's key is asked for again, as Ceph does it and
        S3 of uploads with checksums, though no byte is read. Raises S3Error, SealBroken."""
        envelope = self._check_upload(metadata, place, customer)
        if envelope is None:
            return None
        if customer is not None:
            self._unwrap(envelope, place, customer)
        return UploadBinder(self._tools, envelope, place, upload_id)

    def _check_upload(
        self, metadata: Mapping[str, str], place: Place, customer: CustomerKey | None
    ) -> Envelope | None:
        envelope = self._read(metadata, place)
        needs = envelope is not None and envelope.method is Method.CUSTOMER
        if needs and customer is None:
            raise headers.key_of_upload_is_missing()
        if not needs and customer is not None:
            raise headers.key_of_upload_is_not_applicable()
        return envelope

    # -- reads ----------------------------------------------------------------------

    def opener(
        self, body: ManifestBody, place: Place, customer: CustomerKey | None
    ) -> BodyOpener | None:
        """None: what `body` describes is not sealed. Raises S3Error for a key that is missing, too many
        or another one, SealBroken."""
        envelope = self._read(metadata_of(body), place)
        needs = envelope is not None and envelope.method is Method.CUSTOMER
        if needs and customer is None:
            raise headers.key_is_missing()
        if not needs and customer is not None:
            raise headers.key_is_not_applicable()
        if envelope is None:
            return None
        data_key = self._unwrap(envelope, place, customer)
        self._tools.check_root(body, place)
        return BodyOpener(self._tools, data_key, place)

    def _read(self, metadata: Mapping[str, str], place: Place) -> Envelope | None:
        try:
            return read_envelope(metadata)
        except SealBroken as error:
            raise self._tools.broken(place, error) from None

    def _unwrap(self, envelope: Envelope, place: Place, customer: CustomerKey | None) -> bytes:
        key = customer.key if customer is not None else None
        try:
            return self._tools.seal.unwrap(envelope, place, key)
        except WrongKey as error:
            if customer is not None:
                raise headers.key_is_another() from None
            raise self._tools.broken(place, error) from None
        except SealBroken as error:
            raise self._tools.broken(place, error) from None

    # -- copies ---------------------------------------------------------------------

    def rebinder(
        self,
        body: ManifestBody,
        opener: BodyOpener,
        source: CustomerKey | None,
        wanted: Wanted,
        place: Place,
    ) -> Rebinder | None:
        """For a copy to `place` that moves no bytes; None: its key is another, so they must be read and
        sealed anew."""
        same = source.key if source is not None else None
        asked = wanted.customer.key if wanted.customer is not None else None
        if not wanted.sealed or same != asked:
            return None
        return Rebinder(self._tools, body, self._wrap(opener.data_key, wanted, place), place)


def _head(call: Call) -> Head:
    return headers.with_hoisted(call.head, call.request.parameters)


def answer_headers(metadata: Mapping[str, str], customer: CustomerKey | None) -> dict[str, str]:
    """What an answer says of how an object or upload with this metadata is kept."""
    return answered(customer, server=customer is None and SEALED in metadata)
