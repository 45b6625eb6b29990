"""Settings: precedence, ranges, unknown keys."""

from dataclasses import dataclass

import pytest

from replicast.config import ConfigError, Settings, load, option


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(Settings):
    PREFIX = "EXAMPLE"
    path: str = option("Where.")
    window_ms: float = option("How long.", default=20.0, minimum=0.1, maximum=1000.0)
    count: int = option("How many.", default=3, minimum=1)
    transport: str = option("Which.", default="unicast", choices=("unicast", "multicast"))
    strict: bool = option("Whether.", default=False)


def test_load__flags_win_over_environment_over_file(tmp_path):
    file = tmp_path / "x.toml"
    file.write_text('path = "file"\ncount = 4\nwindow_ms = 5\n')
    environ = {"REPLICAST_EXAMPLE_COUNT": "5", "REPLICAST_EXAMPLE_STRICT": "true"}
    made = load(Example, path=file, flags={"count": 6}, environ=environ)
    assert made == Example(path="file", count=6, window_ms=5.0, strict=True)
    assert load(Example, path=file, environ=environ).count == 5
    assert load(Example, path=file, environ={}).count == 4


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('path = "p"\ncuont = 1\n', ["x.toml", "unknown setting cuont", "count"]),
        ('path = "p"\ncount = 0\n', ["x.toml", "count = 0", "int >= 1"]),
        ('path = "p"\ncount = "many"\n', ["count", "int >= 1"]),
        ('path = "p"\nwindow_ms = 2000\n', ["window_ms", "from 0.1 to 1000"]),
        ('path = "p"\ntransport = "tcp"\n', ["transport", "one of unicast, multicast"]),
        ('path = "p"\nstrict = 3\n', ["strict"]),
        ("count = 1\n", ["missing setting path"]),
        ("count = \n", ["not valid TOML"]),
    ],
)
def test_load__refuses_with_file_key_and_range(tmp_path, text, parts):
    file = tmp_path / "x.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(Example, path=file, environ={})
    for part in parts:
        assert part in str(caught.value)


def test_load__missing_file():
    from pathlib import Path

    with pytest.raises(ConfigError, match=r"/no/such\.toml: No such file"):
        load(Example, path=Path("/no/such.toml"), environ={})
