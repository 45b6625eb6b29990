"""replicast.blocking has what replicast.connect() gives, method by method."""

from __future__ import annotations

import inspect

from replicast import blocking, embed

RENAMED = {"__aenter__": "__enter__", "__aexit__": "__exit__"}


def methods(cls: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(value)
        for name, value in vars(cls).items()
        if inspect.isfunction(value) and (not name.startswith("_") or name in _entered())
    }


def _entered() -> set[str]:
    return set(RENAMED) | set(RENAMED.values())


def parameters(signature: inspect.Signature) -> list[tuple[str, object, object]]:
    return [(p.name, p.kind, p.default) for p in signature.parameters.values()]


def test_both__have_the_same_methods() -> None:
    theirs = {RENAMED.get(name, name): found for name, found in methods(embed.Cluster).items()}
    ours = methods(blocking.Cluster)
    assert list(ours) == list(theirs)
    for name, signature in ours.items():
        assert parameters(signature) == parameters(theirs[name]), name
    assert parameters(inspect.signature(blocking.connect)) == parameters(
        inspect.signature(embed.connect)
    )


def test_both__say_what_they_do() -> None:
    for cls in (embed.Cluster, blocking.Cluster):
        for name, _ in methods(cls).items():
            assert name.startswith("__") or getattr(cls, name).__doc__, name
