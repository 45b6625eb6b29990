"""Which tests of this folder hold which operation and which error of S3: `make s3-matrix`.

Nothing has to be declared: a test holds an operation when it, or a helper of its file that it calls, calls
the method of boto3 for it or names it, and an error when it names its code. What can be answered is
found the same way: operations that are ready, codes that gateway/s3 names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from botocore import xform_name

from replicast.gateway.s3.errors import CODES
from replicast.gateway.s3.operations import OPERATIONS

HERE = Path(__file__).parent
OF_THE_MATRIX = "test_matrix.py"  # names what it does not hold
GATEWAY = HERE.parents[1] / "gateway" / "s3"
READY = {each.name for each in OPERATIONS if each.ready}
# Methods of boto3 that make several requests, or whose name is not the operation's.
METHODS = {
    **{xform_name(name): (name,) for name in READY},
    "upload_file": ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"),
}


@dataclass(frozen=True, slots=True)
class Function:
    """What the text of one function, its decorators included, calls and names."""

    calls: frozenset[str]
    names: frozenset[str]


def answerable_codes() -> set[str]:
    """Codes that some module of the gateway names, but for the table of all."""
    files = [path for path in GATEWAY.glob("*.py") if path.name != "errors.py"]
    named = {text for path in files for text in _strings(ast.parse(path.read_text()))}
    return named & set(CODES)


def matrix(folder: Path = HERE) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Tests (file::function) of every operation that is ready, and of every code that can be answered."""
    operations: dict[str, list[str]] = {name: [] for name in sorted(READY)}
    codes: dict[str, list[str]] = {name: [] for name in sorted(answerable_codes())}
    for path in sorted(folder.rglob("test_*.py")):
        functions = {} if path.name == OF_THE_MATRIX else _functions(path)
        for name in functions:
            if name.startswith("test_"):
                test = f"{path.relative_to(folder)}::{name}"
                held = _held(name, functions)
                for table in (operations, codes):
                    for each in held & set(table):
                        table[each].append(test)
    return operations, codes


def _held(name: str, functions: Mapping[str, Function]) -> set[str]:
    """Operations and codes, those of the functions that it calls included."""
    seen, waiting, found = set[str](), [name], set[str]()
    while waiting:
        at = waiting.pop()
        if at in seen or at not in functions:
            continue
        seen.add(at)
        function = functions[at]
        waiting += function.calls
        found |= function.names
        for call in function.calls:
            found.update(METHODS.get(call, ()))
    return found


def _functions(path: Path) -> dict[str, Function]:
    tree = ast.parse(path.read_text())
    constants = {
        target.id: frozenset(_strings(node.value))
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            words = set(_words(node)) | {each.arg for each in node.args.args}
            names = set(_strings(node)).union(*(constants.get(word, ()) for word in words))
            # The names of methods may be in a parametrization, and called by getattr.
            found[node.name] = Function(frozenset(words | names), frozenset(names))
    return found


def _words(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute):
            yield each.attr
        elif isinstance(each, ast.Name):
            yield each.id


def _strings(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def lines(title: str, table: Mapping[str, list[str]]) -> Iterable[str]:
    """For people."""
    held = sum(1 for tests in table.values() if tests)
    yield f"{title}: {held} of {len(table)} held by tests"
    for name, tests in table.items():
        shown = tests[:3] + ([f"and {len(tests) - 3} more"] if len(tests) > 3 else [])
        yield f"  {name:<46} {', '.join(shown) or 'NONE'}"


if __name__ == "__main__":
    for title, table in zip(("operations", "errors"), matrix(), strict=True):
        print("\n".join(lines(title, table)))
