"""tests/s3 holds every operation that is served and every error that can be answered."""

from __future__ import annotations

from pathlib import Path

from .matrix import answerable_codes, matrix


def test_matrix__has_no_gaps() -> None:
    for table in matrix():
        assert [name for name, tests in table.items() if not tests] == []


def test_matrix__counts_what_a_test_calls_and_names(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(
        "def helper(s3):\n    s3.get_object()\n"
        "def test_a(s3):\n    helper(s3)\n    assert refused() == ('NoSuchKey', 404)\n"
        "def test_b(s3):\n    getattr(s3, 'list_objects')()\n"
    )
    operations, codes = matrix(tmp_path)
    assert operations["GetObject"] == codes["NoSuchKey"] == ["test_one.py::test_a"]
    assert operations["ListObjects"] == ["test_one.py::test_b"]
    assert operations["PutObject"] == [] and codes["NoSuchBucket"] == []


def test_answerable_codes__are_those_that_the_gateway_names() -> None:
    assert {"NoSuchKey", "InternalError", "MalformedXML"} <= answerable_codes()
    assert "UserKeyMustBeSpecified" not in answerable_codes()
