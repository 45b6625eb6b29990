"""replicast/cli/config_command.py: what it finds wrong, and that the documentation lists all."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicast.cli.config_command import PROBLEMS, SETTINGS, check_file, settings_table

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_table__is_in_the_documentation(kind: str) -> None:
    """After a change of settings: paste the output of `replicast config list`."""
    assert settings_table(SETTINGS[kind]) in OPERATIONS.read_text()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("target.toml", "directory = '.'", "missing setting vdevs"),
        ("target.toml", "directory = '.'\nvdevs = 'v1'", r"formation\.toml|cluster\.toml"),
        ("target.toml", "directory = 7\nvdevs = 'v1'", "directory = 7: must be any str"),
        ("gateway.toml", "directory = '.'\nmetrics_port = 0", "must be int from 1 to 65535"),
        ("gateway.toml", "= 1", "not valid TOML"),
        ("cluster.toml", "format = 9", "format 9; this version knows 1"),
        ("other.toml", "vdevs = 'v1'\ndirectory='.'\ndisk='floppy'", "one of real, forgetful"),
        ("other.toml", "directory='.'\nmetric_port=1", "unknown setting metric_port"),
    ],
)
def test_check_file__wrong(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PROBLEMS, match=message) as caught:
        check_file(tmp_path / name)
    assert name in str(caught.value) or "toml" in str(caught.value)


def test_check_file__missing(tmp_path: Path) -> None:
    for name in ("target.toml", "cluster.toml", "x.toml"):
        with pytest.raises(PROBLEMS, match="No such file"):
            check_file(tmp_path / name)
