"""Moves the tree with obstore: `obstore_tree.py ACTION BUCKET [ARGUMENT]`."""

import json
import os
import sys
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store

action, bucket, *arguments = sys.argv[1:]
store = S3Store(
    bucket,
    endpoint=os.environ["AWS_ENDPOINT_URL"],
    client_options={"allow_http": True},
)


def found() -> dict[str, int]:
    return {each["path"]: each["size"] for page in store.list() for each in page}


if action == "version":
    print("obstore", obstore.__version__)
elif action == "upload":
    tree = Path(arguments[0])
    for path in tree.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                store.put(str(path.relative_to(tree)), file)
    try:
        store.put("one byte", b"2", mode="create")  # If-None-Match: *
        raise SystemExit("an object that was there was created")
    except AlreadyExistsError:
        pass
elif action == "list":
    print(json.dumps(found()))
elif action == "download":
    for key in found():
        path = Path(arguments[0], key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            for block in store.get(key).stream():
                file.write(block)
elif action == "delete":
    store.delete(arguments[0])
elif action == "clear":
    store.delete(list(found()))
