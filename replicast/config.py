"""Settings: each declared once as a dataclass field; flags > environment > TOML file > default.

A settings class lists `option(...)` fields. From these come --help, the file's
keys, range checks and the table in docs/. The environment name of `bid_window_ms`
of a class with PREFIX "TARGET" is REPLICAST_TARGET_BID_WINDOW_MS. Cores get the
finished object and never read any of the three themselves.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from replicast.errors import InvalidRequest


class ConfigError(InvalidRequest):
    """A setting that cannot be used; the text names file, key and allowed range."""


def option(
    help: str,
    *,
    default: Any = MISSING,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Declare one setting. Without a default it is required."""
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Base of all settings classes."""

    PREFIX: ClassVar[str] = ""


C = TypeVar("C", bound=Settings)
TYPES = {"int": int, "float": float, "str": str, "bool": bool}


def type_name(f: Field[Any]) -> str:
    """int, float, str or bool, whether or not annotations are kept as text."""
    return f.type if isinstance(f.type, str) else f.type.__name__


def allowed(f: Field[Any]) -> str:
    """The allowed values of a setting, as text for messages and docs."""
    meta = f.metadata
    if meta["choices"]:
        return "one of " + ", ".join(meta["choices"])
    low, high = meta["minimum"], meta["maximum"]
    if low is None and high is None:
        return f"any {type_name(f)}"
    if high is None:
        return f"{type_name(f)} >= {low}"
    return f"{type_name(f)} <= {high}" if low is None else f"{type_name(f)} from {low} to {high}"


def _convert(f: Field[Any], value: Any, where: str) -> Any:
    kind = TYPES[type_name(f)]
    wrong = ConfigError(f"{where}: {f.name} = {value!r}: must be {allowed(f)}")
    if isinstance(value, str) and kind is bool:
        if value.lower() not in ("0", "1", "true", "false"):
            raise wrong
        value = value.lower() in ("1", "true")
    elif isinstance(value, str) and kind is not str:
        try:
            value = kind(value)
        except ValueError:
            raise wrong from None
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise wrong
    meta = f.metadata
    if meta["choices"] and value not in meta["choices"]:
        raise wrong
    if meta["minimum"] is not None and value < meta["minimum"]:
        raise wrong
    if meta["maximum"] is not None and value > meta["maximum"]:
        raise wrong
    return value


def load(
    cls: type[C],
    *,
    path: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> C:
    """Build the settings object; raises ConfigError that names the source, key and range.

    `flags` holds what the command line gave (None = not given); `environ` defaults
    to the process environment. Unknown keys in the file are refused.
    """
    environ = os.environ if environ is None else environ
    by_name = {f.name: f for f in fields(cls)}
    values: dict[str, Any] = {}
    for key, value in (_read(path) if path else {}).items():
        if key not in by_name:
            known = ", ".join(sorted(by_name))
            raise ConfigError(f"{path}: unknown setting {key}; known: {known}")
        values[key] = _convert(by_name[key], value, str(path))
    for name, f in by_name.items():
        variable = f"REPLICAST_{cls.PREFIX}_{name.upper()}"
        if variable in environ:
            values[name] = _convert(f, environ[variable], f"environment {variable}")
        if flags and flags.get(name) is not None:
            values[name] = _convert(f, flags[name], f"--{name.replace('_', '-')}")
    missing = [n for n, f in by_name.items() if n not in values and f.default is MISSING]
    if missing:
        raise ConfigError(f"{path or 'command line'}: missing setting {', '.join(missing)}")
    return cls(**values)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
