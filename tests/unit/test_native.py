"""native/: there is no silent fallback from a missing compiled module to the Python twin."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Compiled module -> who chooses between it and its definition.
CHOOSERS = {
    "_codec": ["replicast.wire.codec"],
    "_gate": ["replicast.auth.gate"],
    "_header": ["replicast.wire.header"],
    "_voice": ["replicast.auth.voice"],
    "_window": ["replicast.auth.window"],
    "_net": ["replicast.transport.net"],
    "_reassembly": ["replicast.transport.net"],
    "_result": ["replicast.transport.result"],
    "_flexhash": ["replicast.flexhash.build"],
    "_simworld": ["replicast.sim.turns"],
    "_simwire": ["replicast.sim.network"],
    "_simpipe": ["replicast.sim.pipe"],
    "_raft_codec": ["replicast.flexhash.raft.codec"],
    "_checksums": ["replicast.gateway.s3.checksums"],
    "_md5": ["replicast.gateway.s3.md5"],
}
PAIRS = [(module, chooser) for module, choosers in CHOOSERS.items() for chooser in choosers]


def run(module: str, chooser: str, pure: str) -> subprocess.CompletedProcess[str]:
    program = (
        f"import sys; sys.modules['replicast.native.{module}'] = None\n"
        f"import {chooser}; from replicast.native import IMPLEMENTATION; print(IMPLEMENTATION)"
    )
    environ = os.environ | {"REPLICAST_PURE": pure}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environ
    )


@pytest.mark.parametrize(("module", "chooser"), PAIRS)
def test_a_missing_module_is_an_import_error_that_says_what_to_do(module, chooser):
    done = run(module, chooser, "")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ") and f"replicast.native.{module}" in last
    assert "make native" in last and "REPLICAST_PURE=1" in last


@pytest.mark.parametrize(("module", "chooser"), PAIRS)
def test_a_missing_module_is_not_missed_with_pure(module, chooser):
    assert run(module, chooser, "1").stdout == "python\n"
