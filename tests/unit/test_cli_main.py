"""replicast/cli/main.py and extensions.py: commands load when used; a missing module is one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from replicast.cli.main import WHERE, main
from replicast.native import PURE


def test_every_command_is_found_where_the_table_says() -> None:
    context = main.make_context("replicast", ["status"], resilient_parsing=True)
    assert main.list_commands(context) == list(WHERE)
    for name in WHERE:
        command = main.get_command(context, name)
        assert command is not None and command.name == name and command.help
    assert main.get_command(context, "nonsense") is None


@pytest.mark.skipif(PURE, reason="nothing compiled is wanted")
@pytest.mark.parametrize("module", ["_codec", "_net", "_flexhash"])
def test_up__a_missing_extension_is_one_line(tmp_path: Path, module: str) -> None:
    program = (
        f"import sys; sys.modules['replicast.native.{module}'] = None\n"
        f"from replicast.cli.main import main; main(['up', '--data', {str(tmp_path / 'd')!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(f"replicast: the compiled module {module} does not load")
    assert "make native" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "d").exists()


def test_version_needs_no_extension() -> None:
    program = (
        "import sys; sys.modules['replicast.native._codec'] = None\n"
        "from replicast.cli.main import main; main(['--version'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("replicast ")


def test_commands_that_ask_a_gateway_load_nothing_of_what_it_is_made_of() -> None:
    modules = [WHERE[name] for name in ("bucket", "put", "cp", "status")]
    program = (
        "import importlib, sys\n"
        f"for name in {modules}: importlib.import_module('replicast.cli.' + name)\n"
        "print([n for n in sys.modules if n in ('numpy', 'zmq') or n.startswith('replicast.wire')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
