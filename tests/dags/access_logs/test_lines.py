"""Lines are counted as the contract of the raw files says, and a file that is no log is one sentence."""

import gzip
import io

import pytest

from taxiway.access_logs.lines import FileError, count_lines

TEXT = b"a\nb\r\n\r\n \t\x0b\x0c\n\xef\xbb\xbf\n\xef\xbb\xbfc\n\n\xff\x00\nlast"


def chunks(content: bytes, size: int) -> list[bytes]:
    stream = io.BytesIO(content)
    return list(iter(lambda: stream.read(size), b""))


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
def test_blank_lines_are_no_lines(size: int) -> None:
    assert count_lines("a.log", chunks(TEXT, size)) == 5
    assert count_lines("a.log.gz", chunks(gzip.compress(TEXT), size)) == 5


@pytest.mark.parametrize("size", [3, 1 << 16])
def test_a_file_may_have_several_members(size: int) -> None:
    several = gzip.compress(b"a\nb") + gzip.compress(b"c\n") + gzip.compress(b"") + gzip.compress(b"d\n")
    assert count_lines("a.gz", chunks(several, size)) == 3
    assert count_lines("a.gz", chunks(several + b"\x00" * 100, size)) == 3


def test_very_long_lines_are_lines_unless_they_are_blank() -> None:
    text = b"x" * 5_000_000 + b"\n" + b" " * 5_000_000 + b"\n" + b" " * 5_000_000 + b"x\nlast"
    assert count_lines("a.log", chunks(text, 100_000)) == 3


def test_no_file_is_no_lines() -> None:
    assert count_lines("a.log", []) == 0


PACKED = gzip.compress(b"10.0.0.1 - - and more\n" * 5000)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.gz", PACKED[:-1], "cut short"),
        ("a.gz", PACKED[: len(PACKED) // 2], "cut short"),
        ("a.gz", PACKED + PACKED[:20], "cut short"),
        ("a.gz", PACKED[:-8] + b"\x00" * 8, "damaged gzip data"),
        ("a.gz", b"plain text\n", "is no gzip file, as its name says"),
        ("a.log", PACKED, "is a gzip file without .gz in its name"),
        ("a.log", b"PAR1 and more of it PAR1", "is Parquet"),
        ("a.log", b"PK\x03\x04 and more of it", "is a zip archive"),
        ("a.log", b"\x28\xb5\x2f\xfd and more of it", "is zstd"),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 16])
def test_a_file_that_is_no_log_is_one_sentence(name: str, content: bytes, part: str, size: int) -> None:
    with pytest.raises(FileError) as caught:
        count_lines(f"s3://logs/{name}", chunks(content, size))
    assert str(caught.value).startswith(f"s3://logs/{name} ")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
