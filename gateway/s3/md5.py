"""MD5 of several messages as everybody imports it: Cython, or Python with REPLICAST_PURE=1."""

from replicast.native import PURE, compiled

if PURE:
    from replicast.gateway.s3.md5_pure import Md5, update_together
else:
    with compiled():
        from replicast.native._md5 import Md5, update_together

__all__ = ["Md5", "update_together"]
