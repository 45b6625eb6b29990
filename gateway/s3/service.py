"""From a request's head and body to the answer: who asks, what for, and the handler of it.

No sockets here: server.py gives it heads and bodies of HTTP. Order of checks as S3 has it: the path,
the signature, then whether the operation is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from replicast.gateway.buckets import Buckets
from replicast.gateway.initiation import Block, Initiator
from replicast.gateway.objects import Objects
from replicast.gateway.s3 import answers, sigv2
from replicast.gateway.s3.access import Access
from replicast.gateway.s3.body import body_of, require_length
from replicast.gateway.s3.bucket_calls import BucketCalls
from replicast.gateway.s3.call import Answer, Call, xml
from replicast.gateway.s3.claim import is_unsigned
from replicast.gateway.s3.default_encryption import DefaultEncryption
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.list_calls import ListCalls
from replicast.gateway.s3.object_calls import ObjectCalls
from replicast.gateway.s3.operation import Request, bucket_of_host, route
from replicast.gateway.s3.regions import Regions
from replicast.gateway.s3.signing_keys import SigningKeys
from replicast.gateway.s3.sigv4 import Verified, verify
from replicast.gateway.s3.sse import Encryption
from replicast.gateway.s3.unset_calls import UnsetCalls
from replicast.gateway.s3.upload_calls import UploadCalls
from replicast.gateway.uploads import Uploads
from replicast.gateway.users import UserDirectory

SIGNING_KEYS_MAX = 1024
STORING = ("PutObject", "UploadPart")
OF_USERS = ("InvalidAccessKeyId", "SignatureDoesNotMatch")  # refusals that depend on who is known
SIGNED_WITHIN = "PostObject"  # the signature is in the form, not in the head
ANONYMOUS = answers.Owner("anonymous", "")
Handler = Callable[[Call], Awaitable[Answer]]


class S3Service:
    """One per gateway process."""

    def __init__(
        self,
        initiator: Initiator,
        objects: Objects,
        buckets: Buckets,
        users: UserDirectory,
        threads: HashExecutor,
        encryption: Encryption,
        regions: Regions,
        random_text: Callable[[], str],
        base_domains: Sequence[str],
        *,
        signature_v2: bool = True,
    ) -> None:
        self._initiator, self._users = initiator, users
        self._random_text = random_text  # 16 characters that nobody can guess
        self._signing_regions, self._base_domains = regions.signing, base_domains
        self._signing_keys, self._signature_v2 = SigningKeys(SIGNING_KEYS_MAX), signature_v2
        self._access = access = Access(buckets)
        uploads = Uploads(initiator, objects.bodies, objects.names, self._new_upload_id)
        of_objects = ObjectCalls(objects, access, threads, encryption)
        of_buckets = BucketCalls(buckets, objects, uploads, access, threads, regions)
        of_uploads = UploadCalls(objects, uploads, access, of_objects, threads, encryption)
        lists = ListCalls(objects, access)
        defaults = DefaultEncryption(buckets, access, threads)
        self._handlers: dict[str, Handler] = {
            **UnsetCalls(objects, access).table(),
            "ListBuckets": of_buckets.list_buckets,
            "CreateBucket": of_buckets.create,
            "DeleteBucket": of_buckets.delete,
            "HeadBucket": of_buckets.head,
            "GetBucketLocation": of_buckets.location,
            "GetBucketVersioning": of_buckets.versioning,
            "PutBucketVersioning": of_buckets.set_versioning,
            "GetBucketEncryption": defaults.get,
            "PutBucketEncryption": defaults.put,
            "DeleteBucketEncryption": defaults.delete,
            "ListObjects": lists.objects,
            "ListObjectsV2": lists.objects_v2,
            "ListObjectVersions": lists.versions,
            "ListMultipartUploads": of_uploads.list_uploads,
            "DeleteObjects": of_objects.delete_many,
            "CreateMultipartUpload": of_uploads.create,
            "UploadPart": of_uploads.put_part,
            "UploadPartCopy": of_uploads.copy_part,
            "ListParts": of_uploads.parts,
            "CompleteMultipartUpload": of_uploads.complete,
            "AbortMultipartUpload": of_uploads.abort,
            "PutObject": of_objects.put,
            "CopyObject": of_objects.copy,
            "GetObject": of_objects.get,
            "HeadObject": of_objects.head,
            "DeleteObject": of_objects.delete,
            "GetObjectAttributes": of_objects.attributes,
        }

    def route(self, head: Head) -> Request:
        """What the request is for; raises S3Error."""
        return route(head, self._base_domains)

    async def serve(
        self, head: Head, request: Request, stream: AsyncIterator[Block], url: str, peer: str
    ) -> Answer:
        """Raises S3Error and what the object layer raises. `stream` is not touched before the head
        was found good, so that a client that waits to be told to go on is told so by then."""
        if not self._users.known:
            raise S3Error("ServiceUnavailable", "The users are not known here yet.")
        if request.operation.name == SIGNED_WITHIN:
            request.check_ready()
        if request.operation.name == "ListBuckets" and is_unsigned(head):  # RGW has it so, too
            return xml(answers.all_buckets(ANONYMOUS, ()))
        verified = await self._verified(head)
        user = self._users.find(verified.key_id)
        if user is None or not user.active:  # shut out a moment ago
            raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=verified.key_id)
        request.check_ready()
        await self._access.check_expectation(head, request.bucket)
        if request.operation.name in STORING:
            require_length(head)
        call = Call(head, request, user, body_of(head, verified), stream, url, peer)
        return await self._handlers[request.operation.name](call)

    async def _verified(self, head: Head) -> Verified:
        """Nobody is refused by what was true before the request: a user may have been made, let in or
        given another secret at the voters, and this gateway has not heard yet."""
        try:
            return self._verify(head)
        except S3Error as error:
            if error.reason not in OF_USERS:
                raise
        await self._users.catch_up()
        return self._verify(head)

    def _verify(self, head: Head) -> Verified:
        now_ns = self._initiator.wall_ns()
        if self._signature_v2 and sigv2.is_presigned(head):
            bucket = bucket_of_host(head.header("host") or "", self._base_domains)
            return sigv2.verify(head, bucket, now_ns, self._secret)
        return verify(head, now_ns, self._secret, self._signing_keys, self._signing_regions)

    def _secret(self, key_id: str) -> str | None:
        user = self._users.find(key_id)
        return user.secret if user is not None and user.active else None

    def _new_upload_id(self) -> str:
        """Time, so that uploads of one name sort by age, and what nobody can guess."""
        return f"{self._initiator.wall_ns():016x}{self._random_text()}"
