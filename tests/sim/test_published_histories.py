"""Every published history gets its published verdict; the text forms, and the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicast.sim.history import History, MalformedHistory, dump
from replicast.sim.linearizability import check_text, main, read_history
from replicast.sim.search import Verdict

FOLDER = Path(__file__).parent / "histories"
PUBLISHED = dict(
    line.split("\t") for line in (FOLDER / "verdicts.tsv").read_text().splitlines()[1:]
)


def test_the_published_verdicts_are_of_the_files_here() -> None:
    files = {path.name for path in FOLDER.iterdir() if path.suffix in (".log", ".txt")}
    assert files == set(PUBLISHED) and len(files) == 53


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_verdict(name: str) -> None:
    assert check_text((FOLDER / name).read_text()).verdict.value == PUBLISHED[name]


@pytest.mark.parametrize("name", ["etcd_000.log", "etcd_002.log", "c01-ok.txt", "c01-bad.txt"])
def test_our_form_of_a_published_history_gets_the_same_verdict(name: str) -> None:
    text = dump(read_history((FOLDER / name).read_text()))
    assert check_text(text).verdict.value == PUBLISHED[name]


def log(*events: str) -> str:
    """Jepsen's lines; \t between the fields."""
    return "".join(f"INFO  jepsen.util - {event}\n".replace(" :", "\t:") for event in events)


def edn(*events: str) -> str:
    return "".join(f"{{:process {event}}}\n" for event in events)


OK = {
    "nil is the first value": log("0 :invoke :read nil", "0 :ok :read nil"),
    "blank lines, spaces, CR LF": "\n  \r\n"
    + log("0 :invoke :write 1", "0 :ok :write 1").replace("\t", "   ").replace("\n", "\r\n\n"),
    "bare lines": "0 :invoke :write 1\n0 :ok :write 1\n",
    "no last line feed": log("0 :invoke :write 1", "0 :ok :write 1")[:-1],
    "a cas whose value differed": log(
        "0 :invoke :write 1",
        "0 :ok :write 1",
        "1 :invoke :cas [2 3]",
        "1 :fail :cas [2 3]",
    ),
    "a failed write did not happen": log(
        "0 :invoke :write 1",
        "0 :fail :write 1",
        "1 :invoke :read nil",
        "1 :ok :read nil",
    ),
    "a cas that failed for another reason": log("0 :invoke :cas [1 2]", "0 :fail :cas :refused"),
    "a read that timed out": log("0 :invoke :read nil", "0 :fail :read :timed-out"),
    "a timed-out write takes effect late": log(
        "0 :invoke :write 1",
        "0 :info :write :timed-out",
        "1 :invoke :read nil",
        "1 :ok :read nil",
        "1 :invoke :read nil",
        "1 :ok :read 1",
    ),
    "a process goes on after :info": log(
        "0 :invoke :write 1",
        "0 :info :write :timed-out",
        "0 :invoke :read nil",
        "0 :ok :read nil",
        "0 :invoke :read nil",
        "0 :ok :read 1",
    ),
    "a process that never ends": log(
        "0 :invoke :cas [1 2]",
        "1 :invoke :write 1",
        "1 :ok :write 1",
        "1 :invoke :read nil",
        "1 :ok :read 2",
    ),
    ":info with a text": log("0 :invoke :write 1", '0 :info :write "Read timed out" {:a 1}'),
    "the nemesis and other loggers": "INFO  jepsen.core - Running test: {:a 1}\n"
    "12:00:00.1 WARN  [worker 1] jepsen.db: slow\n"
    + log(":nemesis :info :start nil", "0 :invoke :write 1", "0 :ok :write 1"),
    "a newer log": "2016-08-01 12:00:00,123  INFO  [jepsen worker 3] jepsen.util: 3\t:invoke\t:read\tnil\n",
    "only the nemesis": log(":nemesis :info :start nil"),
    "EDN, other order, no commas, comment": "; run 1\n"
    '{:f :put :value "x" :process 0 :key "k" :type :invoke} #_ {:a 1}\n'
    '{:type :ok,:f :put,:value "x",:process 0,:key "k"}\n',
    "EDN in a vector of tagged maps": "[#jepsen.history.Op{:process 0,\n :type :invoke, :f :write,"
    " :value 1, :time 5, :index 0}\n{:process :nemesis, :type :info, :f :start, :value {:a 1}}\n]\n",
    "EDN: get of nothing": edn(
        '0, :type :invoke, :f :get, :key "0", :value nil',
        '0, :type :ok, :f :get, :key "0", :value nil',
    ),
    "EDN: escapes": edn(
        r'0, :type :invoke, :f :append, :key "0", :value "a\"\\\nA"',
        r'0, :type :ok, :f :append, :key "0", :value "a\"\\\n\u0041"',
        '0, :type :invoke, :f :get, :key "0", :value nil',
        r'0, :type :ok, :f :get, :key "0", :value "a\"\\' + '\nA"',
    ),
    "EDN: append without end, seen later": edn(
        '0, :type :invoke, :f :append, :key "0", :value "a"',
        '0, :type :info, :f :append, :key "0", :value :timed-out',
        '1, :type :invoke, :f :get, :key "0", :value nil',
        '1, :type :ok, :f :get, :key "0", :value ""',
        '0, :type :invoke, :f :get, :key "0", :value nil',
        '0, :type :ok, :f :get, :key "0", :value "a"',
    ),
    "EDN: cas that failed for a reason given": edn(
        "0, :type :invoke, :f :cas, :value [nil 2]",
        "0, :type :fail, :f :cas, :value [nil 2], :error :refused",
    ),
}

BAD = {
    "a failed cas although the value was right": log(
        "0 :invoke :write 2",
        "0 :ok :write 2",
        "1 :invoke :cas [2 3]",
        "1 :fail :cas [2 3]",
    ),
    "a failed write is read": log(
        "0 :invoke :write 1",
        "0 :fail :write :nope",
        "1 :invoke :read nil",
        "1 :ok :read 1",
    ),
    "a timed-out write twice": log(
        "0 :invoke :write 1",
        "0 :info :write :timed-out",
        "1 :invoke :read nil",
        "1 :ok :read 1",
        "1 :invoke :write 2",
        "1 :ok :write 2",
        "1 :invoke :read nil",
        "1 :ok :read 1",
    ),
    "negative numbers": log("0 :invoke :write -1", "0 :ok :write -1", "0 :invoke :read nil")
    + log("0 :ok :read 1"),
    "EDN: appends in the wrong order": edn(
        '0, :type :invoke, :f :append, :key "0", :value "a"',
        '0, :type :ok, :f :append, :key "0", :value "a"',
        '0, :type :invoke, :f :append, :key "0", :value "b"',
        '0, :type :ok, :f :append, :key "0", :value "b"',
        '0, :type :invoke, :f :get, :key "0", :value nil',
        '0, :type :ok, :f :get, :key "0", :value "ba"',
    ),
    "EDN: an append lost": edn(
        '0, :type :invoke, :f :append, :key "0", :value "a"',
        '0, :type :ok, :f :append, :key "0", :value "a"',
        '0, :type :invoke, :f :get, :key "0", :value nil',
        '0, :type :ok, :f :get, :key "0", :value ""',
    ),
}

MALFORMED = {
    "empty": "",
    "blank": "\n \n",
    "words": "hello\n",
    "bytes": "\0\1\2",
    "a line cut short": log("0 :invoke :write 1", "0 :ok"),
    "a line of words": log("0 :invoke :write 1") + "what\n",
    "no value": log("0 :invoke :write"),
    "value without end": log("0 :invoke :cas [1 2"),
    "two values": log("0 :invoke :write 1 2"),
    "cas of one value": log("0 :invoke :cas 1", "0 :ok :cas 1"),
    "unknown kind": log("0 :invoke :rename 1"),
    "unknown event": log("0 :invoke :write 1", "0 :maybe :write 1"),
    "ends without beginning": log("0 :ok :write 1"),
    "busy": log("0 :invoke :write 1", "0 :invoke :write 2"),
    "ends as another": log("0 :invoke :write 1", "0 :ok :read 1"),
    "ends with another value": log("0 :invoke :write 1", "0 :ok :write 2"),
    "process": log("x :invoke :write 1"),
    "process too long": log("9" * 5000 + " :invoke :write 1"),
    "two models": log("0 :invoke :write 1", "1 :invoke :get nil"),
    "EDN: no map": "[1 2]",
    "EDN: string without end": edn('0, :type :invoke, :f :put, :key "0", :value "x'),
    "EDN: not closed": "{:process 0, :type :invoke",
    "EDN: closed twice": edn("0, :type :invoke, :f :get, :value nil") + "}",
    "EDN: odd": "{:process 0, :type}",
    "EDN: name twice": "{:process 0, :process 0}",
    "EDN: map as name": "{{} 0}",
    "EDN: colon": "{: 0}",
    "EDN: nested": "[" * 100_000,
    "EDN: no process": "{:type :invoke, :f :get, :value nil}",
    "EDN: process true": edn("true, :type :invoke, :f :get, :value nil"),
    "EDN: no type": edn("0, :f :get, :value nil"),
    "EDN: map as value": edn("0, :type :invoke, :f :put, :value {:a 1}"),
    "EDN: put of a number": edn(
        '0, :type :invoke, :f :put, :key "0", :value 5', '0, :type :ok, :f :put, :key "0", :value 5'
    ),
    "EDN: ends at another key": edn(
        '0, :type :invoke, :f :get, :key "0", :value nil',
        '0, :type :ok, :f :get, :key "1", :value ""',
    ),
    "ours: no such model": '{"history":1,"model":"graph"}\n',
    "ours: cut short": '{"history":1,"model":"name"}',
    "ours: no such kind": '{"history":1,"model":"name"}\n'
    '{"client":0,"key":"b/n","kind":"read","argument":null,"result":null,"call_ns":0,"return_ns":1}\n',
}


@pytest.mark.parametrize("what", OK)
def test_forms__linearizable(what: str) -> None:
    assert check_text(OK[what]).verdict is Verdict.OK


@pytest.mark.parametrize("what", BAD)
def test_forms__not_linearizable(what: str) -> None:
    assert check_text(BAD[what]).verdict is Verdict.BAD


@pytest.mark.parametrize("what", MALFORMED)
def test_forms__malformed(what: str) -> None:
    with pytest.raises(MalformedHistory):
        check_text(MALFORMED[what])


# -- the command ------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], list[str]]:
    status = main(arguments)
    printed = capsys.readouterr()
    return status, printed.out.splitlines(), printed.err.splitlines()


def test_command__one_line_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good, bad = str(FOLDER / "etcd_002.log"), str(FOLDER / "c01-bad.txt")
    ours = tmp_path / "ours.jsonl"
    ours.write_text(dump(History("name")))
    lines = [f"{ours}: linearizable", f"{good}: linearizable"]
    assert run(capsys, str(ours), good) == (0, lines, [])
    assert run(capsys, good, bad) == (1, [lines[1], f"{bad}: not linearizable"], [])
    status, out, err = run(capsys, "--explain", bad)
    assert (status, out) == (1, [f"{bad}: not linearizable"])
    assert err[0].endswith("fits no order. This much does:")


def test_command__unknown(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = str(FOLDER / "etcd_002.log"), str(FOLDER / "c01-bad.txt")
    assert run(capsys, "--budget", "3", good) == (3, [f"{good}: unknown"], [])
    status, out, _ = run(capsys, "--budget", "40", good, bad)
    assert (status, out) == (1, [f"{good}: unknown", f"{bad}: not linearizable"])


@pytest.mark.parametrize("what", MALFORMED)
def test_command__malformed_is_one_line_and_the_others_are_checked(
    what: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken, bad = tmp_path / "broken", str(FOLDER / "c01-bad.txt")
    broken.write_text(MALFORMED[what])
    status, out, err = run(capsys, str(broken), bad)
    assert (status, out) == (2, [f"{bad}: not linearizable"])
    assert len(err) == 1 and err[0].startswith(f"{broken}: ") and len(err[0]) < 500


def test_command__unreadable(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    latin = tmp_path / "latin"
    latin.write_bytes(b"INFO \xe9\n")
    missing = tmp_path / "missing"
    assert run(capsys, str(latin), str(missing), str(tmp_path)) == (
        2,
        [],
        [
            f"{latin}: not UTF-8 at byte 5",
            f"{missing}: No such file or directory",
            f"{tmp_path}: Is a directory",
        ],
    )
