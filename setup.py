"""Builds every replicast/native/*.pyx (in an sdist there is no link) as replicast.native.<name>; everything else is in pyproject.toml."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
MODULES = sorted(path.stem for path in (ROOT / "replicast" / "native").glob("*.pyx"))
# Of the compiler (`make sanitize`): "address,undefined" or "thread".
SANITIZERS = os.environ.get("REPLICAST_SANITIZERS", "")
SANITIZE = [f"-fsanitize={SANITIZERS}"] if SANITIZERS else []
# Without debug information a build takes a third less.
COMPILE = ["-O1", "-g", "-fno-omit-frame-pointer", *SANITIZE] if SANITIZERS else ["-O3", "-g0"]

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"replicast.native.{name}",
                [f"replicast/native/{name}.pyx"],
                extra_compile_args=[*COMPILE, "-fno-strict-aliasing"],
                extra_link_args=["-pthread", *SANITIZE],
            )
            for name in MODULES
        ],
        compiler_directives={"language_level": 3},
        nthreads=2,
    ),
    options={"build_ext": {"parallel": 2}},
)
