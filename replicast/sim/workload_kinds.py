"""The kinds of workloads that test files name: one program each, in every client."""

from __future__ import annotations

from replicast.sim.workload_administer import Administer
from replicast.sim.workload_buckets import Buckets
from replicast.sim.workload_copies import Copies
from replicast.sim.workload_crash import Crash
from replicast.sim.workload_large import Large
from replicast.sim.workload_together import Together
from replicast.sim.workload_tree import Tree
from replicast.sim.workload_uploads import Uploads
from replicast.sim.workload_versioning import Versioning
from replicast.sim.workload_versions import Versions
from replicast.sim.workloads import Contended, Program

PROGRAMS: dict[str, type[Program]] = {
    "register": Program,
    "objects": Program,
    "reading": Program,
    "listing": Program,
    "contended": Contended,
    "tree": Tree,
    "versions": Versions,
    "large": Large,
    "together": Together,
    "crash": Crash,
    "administer": Administer,
    "buckets": Buckets,
    "copies": Copies,
    "versioning": Versioning,
    "uploads": Uploads,
}
