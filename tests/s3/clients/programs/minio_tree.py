"""Moves the tree with minio: `minio_tree.py ACTION BUCKET [ARGUMENT]`."""

import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import minio
from minio.deleteobjects import DeleteObject

action, bucket, *arguments = sys.argv[1:]
endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
client = minio.Minio(
    endpoint.netloc,
    access_key=os.environ["AWS_ACCESS_KEY_ID"],
    secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    secure=endpoint.scheme == "https",
)


def found() -> dict[str, int]:
    return {each.object_name: each.size for each in client.list_objects(bucket, recursive=True)}


if action == "version":
    print("minio", minio.__version__)
elif action == "make":
    assert not client.bucket_exists(bucket)
    client.make_bucket(bucket)
elif action == "upload":
    tree = Path(arguments[0])
    for path in tree.rglob("*"):
        if path.is_file():
            client.fput_object(bucket, str(path.relative_to(tree)), str(path))
elif action == "list":
    print(json.dumps(found()))
elif action == "download":
    for key in found():
        client.fget_object(bucket, key, str(Path(arguments[0], key)))
elif action == "delete":
    client.remove_object(bucket, arguments[0])
elif action == "clear":
    errors = list(client.remove_objects(bucket, [DeleteObject(key) for key in found()]))
    assert not errors, errors
    client.remove_bucket(bucket)
