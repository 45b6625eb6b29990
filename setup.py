"""Builds every replicast/native/*.pyx (in an sdist there is no link) as replicast.native.<name>; everything else is in pyproject.toml."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
MODULES = sorted(path.stem for path in (ROOT / "replicast" / "native").glob("*.pyx"))

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"replicast.native.{name}",
                [f"replicast/native/{name}.pyx"],
                # Without debug information a build takes a third less.
                extra_compile_args=["-O3", "-fno-strict-aliasing", "-g0"],
                extra_link_args=["-pthread"],
            )
            for name in MODULES
        ],
        compiler_directives={"language_level": 3},
        nthreads=2,
    ),
    options={"build_ext": {"parallel": 2}},
)
