"""The search against a real atomic object, and against every permutation."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, permutations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from replicast.sim.history import History, Operation, Value, dump, load
from replicast.sim.linearizability import check
from replicast.sim.models import ILLEGAL, KEY_VALUE, MODELS, NAME, REFUSED, REGISTER, Model
from replicast.sim.search import Verdict

QUICK = settings(max_examples=300, deadline=None, derandomize=True)
KEY = "b/n"


@dataclass
class Atomic:
    """One real object that does one thing at a time; it knows nothing of the models' code."""

    content: Value = None
    versions: int = 0
    log: list[str] = field(default_factory=list)

    def register(self, kind: str, argument: Value) -> Value:
        if kind == "read":
            return self.content
        if kind == "write":
            self.content = argument
            return None
        assert isinstance(argument, tuple)
        held = self.content == argument[0]
        if held:
            self.content = argument[1]
        return held

    def key_value(self, kind: str, argument: Value) -> Value:
        if kind == "get":
            return "".join(self.log)
        self.log = ([] if kind == "put" else self.log) + [str(argument)]
        return None

    def name(self, kind: str, argument: Value) -> Value:
        if kind in ("get", "head"):
            return self.content
        if kind == "exists":
            return self.content is not None
        written = argument
        if kind == "put_if_absent" and self.content is not None:
            return REFUSED
        if kind == "put_if_match":
            assert isinstance(argument, tuple)
            if self.content != argument[0]:
                return REFUSED
            written = argument[1]
        self.versions += 1
        self.content = None if kind == "delete" else written
        return self.versions

    def apply(self, model: Model, kind: str, argument: Value) -> Value:
        does = {"register": self.register, "key-value": self.key_value, "name": self.name}
        return does[model.name](kind, argument)


def choose(model: Model, rng: random.Random, number: int, distinct: bool) -> tuple[str, Value]:
    """A kind and an argument; values are unique, or of three."""
    kind = rng.choice(sorted(model.kinds - {"misplaced"}))
    value = f"v{number} " if distinct else rng.choice("abc")
    other = f"v{rng.randrange(max(number, 1))} " if distinct else rng.choice("abc")
    if kind in ("cas", "put_if_match"):
        return kind, (other, value)
    return kind, None if kind in ("read", "get", "head", "exists", "delete") else value


@dataclass(frozen=True)
class Shape:
    """What a generated history is like."""

    model: Model
    count: int
    clients: int
    unknown: float = 0.1
    distinct: bool = True
    versions: bool = True


def generate(shape: Shape, seed: int) -> list[Operation]:
    """Clients run at random speeds; each operation takes effect within its interval.

    One of unknown outcome takes effect at some later time or never, and its client goes on.
    """
    rng, planned, effects = random.Random(seed), [], []
    clock = [rng.randrange(50) for _ in range(shape.clients)]
    for number in range(shape.count):
        client = rng.randrange(shape.clients)
        call_ns = clock[client] + rng.randrange(1, 20)
        effect_ns = call_ns + rng.randrange(1, 100)
        return_ns: int | None = effect_ns + rng.randrange(1, 100)
        clock[client] = return_ns or 0
        if rng.random() < shape.unknown:
            return_ns, effect_ns = None, effect_ns + rng.choice((0, 300, 3000))
        kind, argument = choose(shape.model, rng, number, shape.distinct)
        planned.append(Operation(client, KEY, kind, argument, None, call_ns, return_ns))
        if return_ns is not None or rng.random() < 0.5:
            effects.append((effect_ns, number))
    atomic = Atomic()
    for _, number in sorted(effects):
        one = planned[number]
        result = atomic.apply(shape.model, one.kind, one.argument)
        if one.kind in ("put", "put_if_absent", "put_if_match", "delete") and not shape.versions:
            result = result if result == REFUSED else None
        planned[number] = replace(one, result=result if one.known else None)
    return sorted(planned, key=lambda one: one.call_ns)


SHAPES = st.builds(
    Shape,
    model=st.sampled_from(list(MODELS.values())),
    count=st.integers(0, 40),
    clients=st.integers(1, 8),
    unknown=st.sampled_from((0.0, 0.1, 0.3)),
    distinct=st.booleans(),
    versions=st.booleans(),
)
SMALL = st.builds(
    Shape,
    model=st.sampled_from(list(MODELS.values())),
    count=st.integers(2, 6),
    clients=st.integers(2, 6),
    unknown=st.sampled_from((0.0, 0.2, 0.5)),
    distinct=st.booleans(),
    versions=st.booleans(),
)


def orders(operations: Sequence[Operation]) -> Iterator[Sequence[Operation]]:
    """All that keep real time, with every subset of the unknown ones."""
    known = [one for one in operations if one.known]
    unknown = [one for one in operations if not one.known]
    for size in range(len(unknown) + 1):
        for some in combinations(unknown, size):
            for order in permutations([*known, *some]):
                if all(
                    later.return_ns is None or one.call_ns <= later.return_ns
                    for i, one in enumerate(order)
                    for later in order[i:]
                ):
                    yield order


def allowed(model: Model, order: Sequence[Operation]) -> bool:
    state = model.initial
    for one in order:
        state = model.step(state, one)
        if state is ILLEGAL:
            return False
    return True


def brute_force(model: Model, operations: Sequence[Operation]) -> Verdict:
    fits = any(allowed(model, order) for order in orders(operations))
    return Verdict.OK if fits else Verdict.BAD


@given(SHAPES, st.integers(0, 2**32))
@QUICK
def test_what_an_atomic_object_did_is_linearizable(shape: Shape, seed: int) -> None:
    assert check(generate(shape, seed), shape.model).verdict is Verdict.OK


@given(SMALL, st.integers(0, 2**32))
@QUICK
def test_small_good_histories__brute_force_agrees(shape: Shape, seed: int) -> None:
    operations = generate(shape, seed)
    assert brute_force(shape.model, operations) is Verdict.OK
    assert check(operations, shape.model).verdict is Verdict.OK


@given(SMALL, st.integers(0, 2**32), st.data())
@settings(QUICK, max_examples=1500)
def test_results_shuffled__brute_force_agrees(shape: Shape, seed: int, data: st.DataObject) -> None:
    """Each result is that of any operation of its kind, so that most histories are bad."""
    operations = generate(shape, seed)
    results: dict[str, list[Value]] = {}
    for one in operations:
        if one.known:
            results.setdefault(one.kind, []).append(one.result)
    results = {kind: data.draw(st.permutations(told)) for kind, told in results.items()}
    mixed = [replace(o, result=results[o.kind].pop()) if o.known else o for o in operations]
    assert check(mixed, shape.model).verdict is brute_force(shape.model, mixed)


READS = {"register": ("read",), "key-value": ("get",), "name": ("get", "head")}


def mutants(model: Model, operations: list[Operation]) -> Iterator[list[Operation]]:
    """One read's result swapped for another value that was there, or for nothing."""
    told = {one.result for one in operations if one.kind in READS[model.name] and one.known}
    told |= {"" if model is KEY_VALUE else None, "never written"}
    for i, one in enumerate(operations):
        if one.kind in READS[model.name] and one.known:
            for other in sorted(told - {one.result}, key=repr):
                yield [*operations[:i], replace(one, result=other), *operations[i + 1 :]]


@pytest.mark.parametrize("model", list(MODELS.values()), ids=list(MODELS))
def test_one_read_swapped__brute_force_agrees(model: Model) -> None:
    found = {Verdict.OK: 0, Verdict.BAD: 0}
    for seed in range(150):
        shape = Shape(model, 2 + seed % 5, 3, unknown=0.2, distinct=seed % 2 == 0)
        for mutant in mutants(model, generate(shape, seed)):
            verdict = brute_force(model, mutant)
            assert check(mutant, model).verdict is verdict, mutant
            found[verdict] += 1
    assert found[Verdict.BAD] > found[Verdict.OK] > 10


@given(SHAPES, st.integers(0, 2**32), st.data())
@QUICK
def test_explanation__the_prefix_fits_and_no_order_places_what_is_due(
    shape: Shape, seed: int, data: st.DataObject
) -> None:
    changed = list(mutants(shape.model, generate(shape, seed)))
    assume(changed)
    operations = data.draw(st.sampled_from(changed))
    checked = check(operations, shape.model)
    if checked.verdict is Verdict.OK:
        return
    assert checked.explanation is not None
    assert allowed(shape.model, checked.explanation.prefix)
    end_ns = checked.explanation.stuck[0].return_ns
    assert end_ns is not None
    until = [o if (o.return_ns or 0) < end_ns else replace(o, return_ns=None) for o in operations]
    until = [replace(o, result=o.result if o.known else None) for o in until if o.call_ns < end_ns]
    assert check(until, shape.model).verdict is Verdict.OK
    due = [replace(o, result=p.result, return_ns=p.return_ns) if p.return_ns == end_ns else o
           for o in until for p in operations if (p.client, p.call_ns) == (o.client, o.call_ns)]  # fmt: skip
    assert check(due, shape.model).verdict is Verdict.BAD


@given(SHAPES, st.integers(0, 2**32))
@QUICK
def test_recorded_and_read_back__the_same_history(shape: Shape, seed: int) -> None:
    operations = generate(shape, seed)
    history, running = History(shape.model.name), {}
    events = [(o.call_ns, 0, i) for i, o in enumerate(operations)]
    events += [(o.return_ns, 1, i) for i, o in enumerate(operations) if o.return_ns is not None]
    for now_ns, returns, i in sorted(events):
        one = operations[i]
        if returns:
            history.ok(running[i], one.result, now_ns)
        else:
            running[i] = history.invoke(one.client, one.key, one.kind, one.argument, now_ns)
    assert load(dump(history)) == history
    assert check(history.operations(), shape.model).verdict is Verdict.OK


# Steps, not time: 1000 operations of 8 clients on one key, some of unknown outcome.
STEPS_MAX = 30_000


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "shape",
    [
        Shape(NAME, 1000, 8, unknown=0.02),
        Shape(NAME, 1000, 8, unknown=0.02, versions=False),
        Shape(REGISTER, 1000, 8, unknown=0.02),
        Shape(KEY_VALUE, 1000, 8, unknown=0.02),
    ],
    ids=lambda shape: f"{shape.model.name}-{shape.versions}",
)
def test_a_thousand_operations_take_few_steps(shape: Shape, seed: int) -> None:
    checked = check(generate(shape, seed), shape.model)
    assert checked.verdict is Verdict.OK and checked.steps < STEPS_MAX


@pytest.mark.parametrize("unknown", [0.02, 0.3])
def test_a_stale_read_among_a_thousand_operations_is_found(unknown: float) -> None:
    operations = generate(Shape(NAME, 1000, 8, unknown=unknown), 1)
    reads = [i for i, one in enumerate(operations) if one.kind == "get" and one.result]
    stale = operations[reads[len(reads) // 2]].result
    operations[reads[-3]] = replace(operations[reads[-3]], result=stale)
    checked = check(operations, NAME, budget_steps=300_000)
    assert checked.verdict is Verdict.BAD and checked.explanation is not None
    assert checked.explanation.stuck[0] == operations[reads[-3]]


def test_order_of_the_input_does_not_matter() -> None:
    operations = generate(Shape(REGISTER, 40, 5, distinct=False), 3)
    mixed = random.Random(1).sample(operations, len(operations))
    assert check(mixed, REGISTER).verdict is check(operations, REGISTER).verdict is Verdict.OK
