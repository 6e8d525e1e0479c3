"""Splits the lines of access logs into their fields, or says why a line is not accepted.

Quoted fields are found by splitting at quotes, which takes a fraction of the time of a regular expression with groups:
escaped quotes are replaced before, and put back in the fields that hold one.
"""

from datetime import date, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spark_jobs.access_logs.contracts import contract
from spark_jobs.access_logs.lines import ESCAPE

MOST_BYTES = int(contract("access_file").properties["mostLineBytes"])
COLUMNS = tuple(contract("access_requests").columns)

# Of escapes in lines (``\\`` and ``\"``); after ESCAPE, a line has an upper-case letter or a digit.
_BACKSLASH, _QUOTE = f"{ESCAPE}b", f"{ESCAPE}q"

_BLANK, _NOT_BLANK = "blank", r"[^ \t\r\x0B\f]"
# Those that end the line are counted from its end, which is nearer.
_PARTS = {"head": 1, "request": 2, "answer": 3, "referrer": -4, "between": -3, "agent": -2, "rest": -1}
# Where a month is not found, which is place 0, the first of the numbers is taken: none.
_MONTHS = "    jan feb mar apr may jun jul aug sep oct nov dec"
_NUMBERS = "??? 01- 02- 03- 04- 05- 06- 07- 08- 09- 10- 11- 12-"
_TIME = r"\[[0-9]{2}/[A-Za-z]{3}/[1-9][0-9]{3}:[0-9]{2}:[0-9]{2}:[0-9]{2} [+-](?:[01][0-9]|2[0-3])[0-5][0-9]\]"
_HEAD = rf"(?s)^[^ ]+ [^ ]+ .+ {_TIME} \z"
_HEAD_WITH_USER_OF_ONE_WORD = rf"^[^ ]+ [^ ]+ [^ ]+ {_TIME} \z"
_ANSWER = r"^ [0-9]{3} (?:-|[0-9]{1,15})\z"
_ANSWER_BEFORE_MORE = r"^ [0-9]{3} (?:-|[0-9]{1,15}) \z"
_REQUEST = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^ ]+ [A-Za-z]+/[0-9]+(?:\.[0-9]+)?\z"


def with_reject_reason(lines: DataFrame, day: date) -> DataFrame:
    """Split lines into the columns of access_requests and add ``reject_reason``, null if the line is accepted.

    Args:
        lines: source_file, line, length (bytes).
        day: UTC day of the folder.

    Returns:
        source_file, line, the fields (without meaning where the frame does not parse) and reject_reason: one of the
        contract's, or ``blank``.
    """
    line = F.col("line")
    # Each step is a projection of its own, so that what several columns need is computed once.
    escapes = reduce(_replaced, ((r"\\", _BACKSLASH), (r"\"", _QUOTE)), line)
    rows = lines.withColumn("escaped", F.contains(line, F.lit("\\")))
    rows = rows.withColumn("marked", F.when(F.col("escaped"), escapes).otherwise(line))
    rows = rows.select(
        *("source_file", "line", "length", "escaped"),
        F.octet_length("marked").alias("size"),
        *(_part("marked", '"', number).alias(name) for name, number in _PARTS.items()),
    )
    # As many quotes as there must be, if the parts and the quotes between them make up the line.
    sizes = reduce(Column.__add__, map(F.octet_length, ("head", "request", "answer")))
    ends_after_size = (F.col("size") == sizes + 2) & F.col("answer").rlike(_ANSWER)
    has_agent = (
        (F.col("size") == sizes + F.octet_length("referrer") + F.octet_length("agent") + 7)
        & (F.col("between") == " ")
        & (F.col("rest") == "")
        & F.col("answer").rlike(_ANSWER_BEFORE_MORE)
    )
    rows = rows.select(
        *("source_file", "line", "length", "escaped", "head", "request", "answer", "referrer", "agent"),
        has_agent.alias("has_agent"),
        (ends_after_size | has_agent).alias("quoted"),
        F.col("head").rlike(_HEAD_WITH_USER_OF_ONE_WORD).alias("one_word"),
        F.col("request").rlike(_REQUEST).alias("known"),
        _part("answer", " ", 3).alias("size"),
    )
    # Between host and ident, which hold no space, and the time, which is 30 characters with what is around it.
    before = F.length(_part("head", " ", 1)) + F.length(_part("head", " ", 2)) + 3
    several_words = F.substr("head", before, F.greatest(F.length("head") - 29 - before, F.lit(0)))
    user = F.when(F.col("one_word"), _part("head", " ", 3)).otherwise(several_words)
    framed = F.col("quoted") & (F.col("one_word") | F.col("head").rlike(_HEAD))
    known, has_agent = F.col("known"), F.col("has_agent")
    rows = rows.select(
        *("source_file", "line", "length"),
        framed.alias("framed"),
        _put_back(_part("head", " ", 1)).alias("host"),
        _put_back(user).alias("user"),
        _instant(_part("head", "[", -1)).alias("requested_at"),
        F.when(known, _part("request", " ", 1)).alias("method"),
        _put_back(F.when(known, _part("request", " ", 2))).alias("path"),
        F.when(known, _part("request", " ", 3)).alias("protocol"),
        _part("answer", " ", 2).try_cast("int").alias("status"),
        (F.col("size") == "-").alias("no_size"),
        F.col("size").try_cast("bigint").alias("bytes"),
        _put_back(F.when(has_agent, F.col("referrer"))).alias("referrer"),
        _put_back(F.when(has_agent, F.col("agent"))).alias("user_agent"),
    )
    # Engines move a filter before the projection that computes its columns, and would do most of the work twice; but
    # not one on a column that is not deterministic.
    at = F.col("requested_at")
    parsed = F.col("framed") & at.isNotNull() & (F.col("no_size") | F.col("bytes").isNotNull())
    reason = (
        F.when(F.rand() + 1 < 0, _BLANK)  # never true, but not deterministic
        .when(~F.col("line").rlike(_NOT_BLANK), _BLANK)
        .when(F.col("length") > MOST_BYTES, "too_long")
        .when(~parsed, "unparsed")
        .when((at < midnight(day)) | (at >= midnight(day + timedelta(days=1))), "outside_day")
    )
    return rows.select("line", *COLUMNS, reason.alias("reject_reason"))


def doubtful(lines: DataFrame, day: date) -> DataFrame:
    """Return the lines that :func:`with_reject_reason` may reject: all but those that a strict pattern accepts.

    It costs a small part of splitting, and leaves few lines to split.

    Args:
        lines: source_file, line, length (bytes).
        day: UTC day of the folder.
    """
    if day.year < 1000:  # such times are not accepted
        return lines
    month = _MONTHS[4 * day.month :][:3].title()
    time = rf"\[{day:%d}/{month}/{day.year}:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9] \+0000\]"
    quoted = r'"[^"\\]*"'
    sure = rf'^[^ "\\]+ [^ "\\]+ [^ "\\]+ {time} {quoted} [0-9]{{3}} (?:-|[0-9]{{1,15}})(?: {quoted} {quoted})?\z'
    return lines.where(~(F.col("line").rlike(sure) & (F.col("length") <= MOST_BYTES)))


def accepted(checked: DataFrame) -> DataFrame:
    """Return the accepted lines with the columns of access_requests."""
    return checked.where(F.col("reject_reason").isNull()).select(*COLUMNS)


def quarantined(checked: DataFrame) -> DataFrame:
    """Return the lines that are not accepted, without those that are blank."""
    return checked.where(F.col("reject_reason") != _BLANK).select(
        "source_file", F.col("line").alias("raw"), "reject_reason"
    )


def midnight(day: date) -> Column:
    """Return the start of a UTC day."""
    return F.lit(f"{day} 00:00:00").cast("timestamp_ntz")


def _instant(text: Column) -> Column:
    """Return ``17/May/2015:10:05:03 +0200] `` as a time in UTC; null if there is no such time."""

    def part(start: int, length: int) -> Column:
        return F.substring(text, start, length)

    month = F.substring(F.lit(_NUMBERS), F.instr(F.lit(_MONTHS), F.lower(part(4, 3))), F.lit(3))
    local = F.concat(part(8, 4), F.lit("-"), month, part(1, 2), F.lit(" "), part(13, 8)).try_cast("timestamp_ntz")
    zone = part(22, 5).try_cast("int")  # -730 of -0730
    return local - F.make_dt_interval(hours=(zone / 100).cast("int"), mins=zone % 100)


def _part(text: str, separator: str, number: int) -> Column:
    return F.split_part(text, F.lit(separator), F.lit(number))


def _replaced(text: Column, pair: tuple[str, str]) -> Column:
    return F.replace(text, F.lit(pair[0]), F.lit(pair[1]))


def _put_back(field: Column) -> Column:
    restored = reduce(_replaced, ((_QUOTE, r"\""), (_BACKSLASH, r"\\")), field)
    return F.when(F.col("escaped"), restored).otherwise(field)
