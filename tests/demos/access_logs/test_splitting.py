"""Logs are split by UTC day without losing a byte, and what is no log is one sentence."""

import gzip
import random
from pathlib import Path

import pytest

from console.errors import UserError
from demos.access_logs.splitting import Days, day_of, split_logs


def line(
    day: str = "17/May/2015", time: str = "10:05:03", zone: str = "+0000", request: str = "GET / HTTP/1.1"
) -> bytes:
    return f'10.0.0.1 - - [{day}:{time} {zone}] "{request}" 200 12\n'.encode()


def contents(days: Days) -> dict[str, bytes]:
    """Return what was delivered of each day, uncompressed."""
    found = {}
    for day, files in days.files.items():
        parts = [gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes() for file in files]
        found[day] = b"".join(parts)
    return found


@pytest.mark.parametrize(
    ("text", "day"),
    [
        (line(), "2015-05-17"),
        (line(time="23:30:00", zone="-0100"), "2015-05-18"),
        (line(time="00:30:00", zone="+0100"), "2015-05-16"),
        (line(day="17/mAY/2015").rstrip() + b"\r\n", "2015-05-17"),
        (line().rstrip() + b' "-" "an \\"agent\\" \xff"\n', "2015-05-17"),
        (b"\xef\xbb\xbf" + line(), "2015-05-17"),
        (b'::1 - a user [17/May/2015:10:05:03 +0000] "\\x16\\x03" 400 -', "2015-05-17"),
        (line(day="31/Feb/2015"), None),
        (line(day="17/Mai/2015"), None),
        (line(time="24:00:00"), None),
        (line(zone="+2400"), None),
        (line().rstrip() + b' "-" "no end\n', None),
        (line().rstrip() + b" more\n", None),
        (line(request="GET /" + "a" * 70_000), None),
        (b"\n", None),
    ],
)
def test_the_day_of_a_line_is_that_of_its_time_in_utc(text: bytes, day: str | None) -> None:
    assert day_of(text) == day


def test_a_line_that_does_not_parse_stays_with_the_line_before_it(tmp_path: Path) -> None:
    first, second = line(), line(day="18/May/2015")
    (tmp_path / "a.log").write_bytes(b"rubbish\n\n" + first + b"\xff\xfe\x00\n" + second + b"torn line without end")
    assert contents(split_logs(tmp_path / "a.log")) == {
        "2015-05-17": b"rubbish\n\n" + first + b"\xff\xfe\x00\n",
        "2015-05-18": second + b"torn line without end",
    }


@pytest.mark.parametrize("packed", [False, True])
def test_every_byte_is_in_one_day_in_its_order(tmp_path: Path, packed: bool) -> None:
    chance = random.Random(7)
    days = [f"{number:02d}/May/2015" for number in range(1, 29)] + [f"{number:02d}/Jun/2016" for number in range(1, 31)]
    days += [f"{number:02d}/Jul/2017" for number in range(1, 31)]  # more than files may be open at once
    lines = [
        line(chance.choice(days)) if chance.random() < 0.8 else chance.randbytes(20).replace(b"\n", b"") + b"\r\n"
        for _ in range(3000)
    ]
    text = b"".join(lines)
    file = tmp_path / ("a.log.1" if packed else "a.log")  # what it is, its bytes say
    file.write_bytes(gzip.compress(text) if packed else text)
    expected: dict[str, bytes] = {}
    day = next(filter(None, map(day_of, lines)))
    for each in lines:
        day = day_of(each) or day
        expected[day] = expected.get(day, b"") + each
    found = split_logs(file)
    assert contents(found) == expected
    assert list(found.files) == sorted(expected)
    assert {path.name for files in found.files.values() for path in files} == {"a.log.1.gz" if packed else "a.log"}


def test_the_files_of_a_folder_keep_apart(tmp_path: Path) -> None:
    for name in ("www/access.log", "www_access.log", "_hidden", ".more", "odd [1]{2}*.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(line())
    (tmp_path / "old.log.gz").write_bytes(gzip.compress(line()))
    (tmp_path / "empty.log").touch()
    (files,) = split_logs(tmp_path).files.values()
    assert sorted(file.name for file in files) == sorted(
        ["www_access.log", "2-www_access.log", "log_hidden", "log.more", "odd__1__2__.log", "old.log.gz"]
    )


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty: give access logs with lines"),
        (b"\n \t\r\n", "is empty"),
        (bytes(range(256)) * 50, "is no access log: none of its lines"),
        (b'{"time": "2015-05-17"}\n', "is no access log"),
        (gzip.compress(line() * 1000, mtime=0)[:-20], "is gzip data that is cut short: give the whole file"),
        (gzip.compress(line(), mtime=0)[:-8] + b"\x00" * 8, "is damaged gzip data"),
    ],
)
def test_what_is_no_log_is_one_sentence(content: bytes, part: str, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(content)
    with pytest.raises(UserError) as caught:
        split_logs(tmp_path / "a.log")
    assert part in str(caught.value)
    assert "a.log" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_without_logs_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"LOGS=.*none does not exist: give a file"):
        split_logs(tmp_path / "none")
    with pytest.raises(UserError, match=r"is a folder without files"):
        split_logs(tmp_path)
    (tmp_path / "a.log").touch()
    with pytest.raises(UserError, match=r"has only empty files"):
        split_logs(tmp_path)
    (tmp_path / "b.log").write_bytes(b"no log\n")
    with pytest.raises(UserError, match=r"b\.log is no access log"):
        split_logs(tmp_path)
