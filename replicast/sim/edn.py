"""A reader for the part of EDN (edn-format.org) in which histories are published.

Maps, vectors, lists, sets, strings, integers, keywords, nil, true, false; other symbols, floats
and characters become Symbol; tags are passed over, their forms kept. No recursion; nesting is
bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from replicast.sim.history import MalformedHistory, Value

DEPTH_MAX = 8


class Keyword(str):
    """:name, without its colon."""

    __slots__ = ()


class Symbol(str):
    """Any other word."""

    __slots__ = ()


Form: TypeAlias = Any  # None, bool, int, str, Keyword, Symbol, tuple of forms, dict of forms

_TOKEN = re.compile(
    r"""(?P<space>[\s,]+|;[^\n]*)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<discard>\#_)
      | (?P<open>\#\{|[({\[])
      | (?P<close>[)}\]])
      | (?P<tag>\#[A-Za-z][\w./-]*)
      | (?P<word>\\?[^\s,;"(){}\[\]]+)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSES = {"(": ")", "[": "]", "{": "}", "#{": "}"}
_WORDS = {"nil": None, "true": True, "false": False}
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "b": "\b", "f": "\f"}
_INTEGER = re.compile(r"[+-]?[0-9]{1,100}N?")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


@dataclass(slots=True)
class _Open:
    """A collection that is being read; the outermost is the text itself."""

    bracket: str
    line: int
    items: list[Form] = field(default_factory=list)
    discards: int = 0


def read_forms(text: str, first_line: int = 1) -> Iterator[tuple[int, Form]]:
    """All forms of the text, each with the line on which it begins. Raises MalformedHistory."""
    stack, line, at = [_Open("", first_line)], first_line, 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise MalformedHistory(f"line {line}: not EDN: {text[at : at + 20]!r}")
        kind, token, at = str(found.lastgroup), found.group(), found.end()
        begins, line = line, line + token.count("\n")
        if kind == "discard":
            stack[-1].discards += 1
        elif kind == "open":
            if len(stack) > DEPTH_MAX:
                raise MalformedHistory(f"line {line}: nested deeper than {DEPTH_MAX}")
            stack.append(_Open(token, begins))
        elif kind in ("string", "word", "close"):
            if kind == "close":
                begins, form = stack[-1].line, _closed(stack.pop(), token, line)
            else:
                form = _atom(kind, token, line)
            if stack[-1].discards:
                stack[-1].discards -= 1
            elif len(stack) == 1:
                yield begins, form
            else:
                stack[-1].items.append(form)
    if len(stack) > 1:
        raise MalformedHistory(f"line {stack[-1].line}: {stack[-1].bracket} is never closed")


def _closed(opened: _Open, token: str, line: int) -> Form:
    if _CLOSES.get(opened.bracket) != token:
        raise MalformedHistory(f"line {line}: {token} closes nothing")
    if opened.bracket != "{":
        return tuple(opened.items)
    names, values = opened.items[::2], opened.items[1::2]
    if len(names) != len(values) or any(isinstance(name, dict | tuple) for name in names):
        raise MalformedHistory(f"line {opened.line}: not a map of names and values")
    if len(set(names)) != len(names):
        raise MalformedHistory(f"line {opened.line}: a name stands twice in a map")
    return dict(zip(names, values, strict=True))


def _atom(kind: str, token: str, line: int) -> Form:
    if kind == "string":
        return _ESCAPE.sub(_unescaped, token[1:-1])
    if token in _WORDS:
        return _WORDS[token]
    if token.startswith(":"):
        if len(token) == 1:
            raise MalformedHistory(f"line {line}: a keyword without a name")
        return Keyword(token[1:])
    if _INTEGER.fullmatch(token):
        return int(token.rstrip("N"))
    return Symbol(token)


def _unescaped(found: re.Match[str]) -> str:
    escape = found[1]
    if len(escape) == 5:
        return chr(int(escape[1:], 16))
    return _ESCAPES.get(escape, escape)


def plain(form: Form, line: int) -> Value:
    """The form as a value of a history; keywords keep their colon."""
    if isinstance(form, Keyword):
        return f":{form}"
    if isinstance(form, tuple):
        return tuple(plain(item, line) for item in form)
    if form is None or isinstance(form, bool | int | str):
        return str(form) if isinstance(form, Symbol) else form
    raise MalformedHistory(f"line {line}: a map is no value of a history")
