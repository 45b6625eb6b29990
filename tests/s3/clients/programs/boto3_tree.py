"""Moves the tree with boto3, old or new: `boto3_tree.py ACTION BUCKET [ARGUMENT]`."""

import json
import sys
from pathlib import Path

import boto3

action, name, *arguments = sys.argv[1:]
bucket = boto3.resource("s3").Bucket(name)

if action == "version":
    print("boto3", boto3.__version__)
elif action == "make":
    bucket.create()
elif action == "upload":
    tree = Path(arguments[0])
    for path in tree.rglob("*"):
        if path.is_file():
            bucket.upload_file(str(path), str(path.relative_to(tree)))
elif action == "list":
    print(json.dumps({each.key: each.size for each in bucket.objects.all()}))
elif action == "download":
    for each in bucket.objects.all():
        path = Path(arguments[0], each.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        bucket.download_file(each.key, str(path))
elif action == "delete":
    bucket.Object(arguments[0]).delete()
elif action == "clear":
    for answer in bucket.objects.all().delete():
        assert "Errors" not in answer, answer
    bucket.delete()
