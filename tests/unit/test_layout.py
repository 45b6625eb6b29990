"""The promised folders, the promised packages, the import graph, the size of things."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [
    "replicast",
    "target",
    "gateway",
    "flexhash",
    "native",
    "tests",
    "bench",
    "docs",
    "deploy",
]
FILES = ["pyproject.toml", "setup.py", "README.md", "LICENSE", "Makefile", ".ci/run"]
LINKED = ["target", "gateway", "flexhash", "native"]

# Package -> how its use shows in the sources of the folder.
PACKAGES = {
    "cython": ("setup.py", r"from Cython\.Build import cythonize"),
    "numpy": ("flexhash", r"import numpy"),
    "pyzmq": ("replicast", r"import zmq"),
    "xxhash": (".", r"import xxhash"),
    "pysyncobj": ("flexhash", r"pysyncobj"),
    "cryptography": ("replicast", r"from cryptography"),
    "prometheus-client": ("replicast", r"from prometheus_client"),
    "pytest": ("tests", r"import pytest"),
    "pytest-benchmark": ("bench", r"def test_\w+\([^)]*\bbenchmark\b"),
}

# Who may import whom (DESIGN section 4). Composition roots may import everything.
LAYERS = {
    "flexhash": {"flexhash", "replicast", "native"},
    "native": {"native", "replicast", "flexhash", "target", "gateway"},
    "replicast": {"replicast", "native", "flexhash"},
    "target": {"target", "replicast", "flexhash", "native"},
    "gateway": {"gateway", "replicast", "flexhash", "native"},
}
ROOTS = ("replicast/cli/", "replicast/sim/", "replicast/embed.py", "replicast/blocking.py")
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500


def sources() -> list[Path]:
    return sorted(
        path
        for folder in ["replicast", *LINKED]
        for path in (ROOT / folder).rglob("*.py")
        if not any(parent.is_symlink() for parent in path.parents)
    )


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def imported_layer(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "replicast":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in LINKED else "replicast"


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_exists(name):
    assert (ROOT / name).is_dir()


@pytest.mark.parametrize("name", FILES)
def test_file_exists(name):
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("name", LINKED)
def test_one_import_root(name):
    link = ROOT / "replicast" / name
    assert link.is_symlink() and link.readlink() == Path("..") / name
    refused = subprocess.run(
        [sys.executable, "-c", f"import {name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"import replicast.{name}, not {name}" in refused.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_used(package):
    where, pattern = PACKAGES[package]
    place = ROOT / where
    folders = [ROOT / f for f in ("replicast", *LINKED)] if where == "." else [place]
    files = [place] if place.is_file() else [p for f in folders for p in f.rglob("*.py")]
    files += [p for f in folders if f.is_dir() for p in f.rglob("*.pyx")]
    assert any(re.search(pattern, path.read_text()) for path in files), package
    assert package in (ROOT / "pyproject.toml").read_text()


def test_imports_run_one_way():
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources()
        if not str(path.relative_to(ROOT)).startswith(ROOTS)
        for module in imports_of(path)
        if (layer := imported_layer(module)) and layer not in LAYERS[layer_of(path)]
    ]
    assert wrong == []


def test_cores_read_no_clock_environment_or_global_randomness():
    """Only shells and composition roots may; they are listed, so that the list is looked at."""
    forbidden = re.compile(
        r"time\.(time|monotonic|clock_gettime|perf_counter)|os\.environ|os\.urandom"
        r"|random\.(random|randrange|choice|shuffle|getrandbits)\(|uuid4|secrets\."
    )
    shells = set((ROOT / "tests/unit/shells.txt").read_text().split())
    found = {
        str(path.relative_to(ROOT))
        for path in sources()
        if not str(path.relative_to(ROOT)).startswith(ROOTS) and forbidden.search(path.read_text())
    }
    assert found <= shells, sorted(found - shells)


def test_functions_and_files_stay_small():
    wrong = []
    for path in sources():
        text = path.read_text()
        if text.count("\n") > FILE_LINES_MAX:
            wrong.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    wrong.append(f"{path.relative_to(ROOT)}: {node.name}: {lines} lines")
    assert wrong == []


def test_nothing_outside_the_repository_is_named():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    outside = re.compile(r"\.\./shared|/work/(main|shared)")
    own = {"tests/unit/test_layout.py"}
    wrong = [
        name
        for name in listed.stdout.split()
        if name not in own
        and (ROOT / name).is_file()
        and not (ROOT / name).is_symlink()
        and outside.search((ROOT / name).read_text(errors="ignore"))
    ]
    assert wrong == []
