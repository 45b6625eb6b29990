"""Presigned URLs with plain curl: every operation is a URL that somebody with keys has made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote_plus
from xml.etree import ElementTree

import boto3
from botocore.config import Config

from .client import Client, Site

URL_SECONDS = 600
PART_BYTES = 5 << 20
S3_XML = "{http://s3.amazonaws.com/doc/2006-03-01/}"
FORBIDDEN = "403"


class Curl(Client):
    """Signature version 4. Without one the same URL is forbidden."""

    programs = ("curl",)
    signer: ClassVar = Config(signature_version="s3v4")

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._signer = boto3.client(
            "s3",
            endpoint_url=site.access.endpoint,
            aws_access_key_id=site.access.key_id,
            aws_secret_access_key=site.access.secret,
            region_name=site.access.region,
            config=self.signer,
        )

    def url(self, operation: str, **parameters: Any) -> str:
        """The URL that does it."""
        parameters = {"Bucket": self.site.bucket} | parameters
        url: str = self._signer.generate_presigned_url(operation, parameters, URL_SECONDS)
        return url

    def curl(self, *command: str | Path) -> str:
        return self.run("curl", "-sS", "--fail-with-body", *command)

    def version(self) -> str:
        return " ".join(self.curl("--version").split()[:2])

    def make_bucket(self) -> None:
        self.curl("-X", "PUT", self.url("create_bucket"))

    def upload(self, tree: Path) -> None:
        for path in tree.rglob("*"):
            if path.is_file():
                key = str(path.relative_to(tree))
                self._upload_file(path, key)
                self._refuse_strangers(key)

    def _upload_file(self, path: Path, key: str) -> None:
        if path.stat().st_size <= PART_BYTES:
            self.curl("-T", path, self.url("put_object", Key=key))
            return
        said = self.curl("-X", "POST", self.url("create_multipart_upload", Key=key))
        upload = {
            "Key": key,
            "UploadId": ElementTree.fromstring(said).findtext(f"{S3_XML}UploadId"),
        }
        data, parts, file = path.read_bytes(), "", self.site.folder / "part"
        for number, at in enumerate(range(0, len(data), PART_BYTES), 1):
            file.write_bytes(data[at : at + PART_BYTES])
            url = self.url("upload_part", PartNumber=number, **upload)
            etag = re.search("etag: (.*)\r", self.curl("-D", "-", "-T", file, url), re.I)
            assert etag is not None
            parts += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag[1]}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
        url = self.url("complete_multipart_upload", **upload)
        said = self.curl("-H", "Content-Type:", "--data-binary", body, url)  # none was signed
        assert ElementTree.fromstring(said).tag == f"{S3_XML}CompleteMultipartUploadResult", said

    def _refuse_strangers(self, key: str) -> None:
        bare = self.url("get_object", Key=key).partition("?")[0]
        said = self.run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", bare)
        assert said == FORBIDDEN, said

    def listing(self) -> dict[str, int]:
        """The signer has asked for names in percent-encoding."""
        root = ElementTree.fromstring(self.curl(self.url("list_objects_v2")))
        return {
            unquote_plus(each.findtext(f"{S3_XML}Key", "")): int(each.findtext(f"{S3_XML}Size", ""))
            for each in root.iter(f"{S3_XML}Contents")
        }

    def download(self, into: Path) -> None:
        for key in self.listing():
            self.curl("--create-dirs", "-o", into / key, self.url("get_object", Key=key))

    def delete(self, tree: Path, name: str) -> None:
        self.curl("-X", "DELETE", self.url("delete_object", Key=name))

    def clear(self) -> None:
        for key in self.listing():
            self.curl("-X", "DELETE", self.url("delete_object", Key=key))
        self.curl("-X", "DELETE", self.url("delete_bucket"))


class CurlByDefault(Curl):
    """What boto3 makes when it is told nothing: signature version 2."""

    signer = Config()
