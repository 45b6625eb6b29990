"""sdist and wheel: what is in them, and that the wheel installs and runs by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BACKEND = "import sys; from setuptools import build_meta as b; print(b.build_{kind}(sys.argv[1]))"


def build(kind: str, source: Path, target: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-c", BACKEND.format(kind=kind), str(target)],
        cwd=source,
        capture_output=True,
        text=True,
        check=True,
    )
    return target / done.stdout.split()[-1]


@pytest.mark.timeout(900)  # it compiles all there is, twice
@pytest.mark.slow
def test_sdist_and_wheel__build_and_run(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    sdist = build("sdist", clone, tmp_path)
    with tarfile.open(sdist) as archive:
        names = [name.split("/", 1)[-1] for name in archive.getnames()]
    shutil.unpack_archive(sdist, tmp_path / "from-sdist")
    for needed in ("setup.py", "pyproject.toml", "README.md", "replicast/native/_codec.pyx"):
        assert needed in names, needed
    wheel = build("wheel", next((tmp_path / "from-sdist").iterdir()), tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        inside = set(archive.namelist())
    assert {top for top in tops if not top.endswith(".dist-info")} == {"replicast"}
    assert "replicast/target/daemon.py" in inside and "replicast/py.typed" in inside
    assert any(name.startswith("replicast/native/_net.") and ".so" in name for name in inside)
    check_runs(wheel, tmp_path / "venv")


def check_runs(wheel: Path, folder: Path) -> None:
    """In an environment of its own, which sees this one's packages but not this tree."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(purelib)
    dependencies = Path(pytest.__file__).resolve().parents[1]
    code = (
        f"import sys; sys.path.append({str(dependencies)!r}); import replicast.cli.main as m;"
        f"assert m.__file__.startswith({purelib!r}), m.__file__; m.main(['--version'])"
    )
    environ = {k: v for k, v in os.environ.items() if k not in ("REPLICAST_PURE", "PYTHONPATH")}
    done = subprocess.run(
        [python, "-c", code], cwd=folder, capture_output=True, text=True, check=False, env=environ
    )
    assert done.returncode == 0 and "(cython)" in done.stdout, done.stderr
