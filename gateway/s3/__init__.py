"""The S3 protocol over the object layer: cores that parse, check and answer, and the HTTP shell."""
