"""The functions whose answers are proved to be those of Trino (tests/local_aws/athena/functions.csv), in DuckDB's SQL.

A line is a signature and a template with the arguments as {0}, {1}, …. In signatures, T, U, K, V stand for any type, N
for any numeric and I for any integer type, the same wherever the letter stands; `when` for a date or a timestamp with or
without time zone, of which the template gets the local time, `moment` for the same without dates; `T->U` for a lambda. The first signature wins that
fits without conversions, then the first that fits with them. What needs more than a template is in `special.py`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from local_aws.athena.sql.types import INTEGERS, Type, common, from_hive

_SPACES = "' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)"

_SCALAR = f"""
abs(N) -> N                                 = abs({{0}})
sign(I) -> I                                = CAST(sign({{0}}) AS BIGINT)
sign(double) -> double                      = CASE WHEN isnan({{0}}) THEN {{0}} ELSE CAST(sign({{0}}) AS DOUBLE) END
ceil(I) -> I                                = {{0}}
ceil(double) -> double                      = ceil({{0}})
ceiling(I) -> I                             = {{0}}
ceiling(double) -> double                   = ceil({{0}})
floor(I) -> I                               = {{0}}
floor(double) -> double                     = floor({{0}})
round(I) -> I                               = {{0}}
round(double) -> double                     = round({{0}})
round(double, integer) -> double            = round({{0}}, {{1}})
truncate(double) -> double                  = trunc({{0}})
sqrt(double) -> double                      = CASE WHEN {{0}} < 0 THEN CAST('NaN' AS DOUBLE) ELSE sqrt({{0}}) END
exp(double) -> double                       = exp({{0}})
ln(double) -> double                        = CASE WHEN {{0}} < 0 THEN CAST('NaN' AS DOUBLE) WHEN {{0}} = 0 THEN CAST('-Infinity' AS DOUBLE) ELSE ln({{0}}) END
log10(double) -> double                     = CASE WHEN {{0}} < 0 THEN CAST('NaN' AS DOUBLE) WHEN {{0}} = 0 THEN CAST('-Infinity' AS DOUBLE) ELSE log10({{0}}) END
log2(double) -> double                      = CASE WHEN {{0}} < 0 THEN CAST('NaN' AS DOUBLE) WHEN {{0}} = 0 THEN CAST('-Infinity' AS DOUBLE) ELSE ln({{0}}) / ln(CAST(2 AS DOUBLE)) END
power(double, double) -> double             = power({{0}}, {{1}})
pow(double, double) -> double               = power({{0}}, {{1}})
mod(I, I) -> I                              = CASE WHEN {{1}} = 0 THEN error('DIVISION_BY_ZERO: Division by zero') ELSE {{0}} % {{1}} END
mod(double, double) -> double               = fmod({{0}}, {{1}})
pi() -> double                              = pi()
e() -> double                               = exp(1.0)
degrees(double) -> double                   = degrees({{0}})
radians(double) -> double                   = radians({{0}})
sin(double) -> double                       = sin({{0}})
cos(double) -> double                       = cos({{0}})
tan(double) -> double                       = tan({{0}})
asin(double) -> double                      = CASE WHEN abs({{0}}) > 1 THEN CAST('NaN' AS DOUBLE) ELSE asin({{0}}) END
acos(double) -> double                      = CASE WHEN abs({{0}}) > 1 THEN CAST('NaN' AS DOUBLE) ELSE acos({{0}}) END
atan(double) -> double                      = atan({{0}})
atan2(double, double) -> double             = atan2({{0}}, {{1}})
is_nan(double) -> boolean                   = isnan({{0}})
is_finite(double) -> boolean                = isfinite({{0}})
is_infinite(double) -> boolean              = isinf({{0}})
nan() -> double                             = CAST('NaN' AS DOUBLE)
infinity() -> double                        = CAST('Infinity' AS DOUBLE)
rand() -> double                            = random()
random() -> double                          = random()
bitwise_and(bigint, bigint) -> bigint       = ({{0}} & {{1}})
bitwise_or(bigint, bigint) -> bigint        = ({{0}} | {{1}})
bitwise_xor(bigint, bigint) -> bigint       = xor({{0}}, {{1}})
bitwise_not(bigint) -> bigint               = (-1 - {{0}})
lower(varchar) -> varchar                   = lower({{0}})
upper(varchar) -> varchar                   = upper({{0}})
length(varchar) -> bigint                   = length({{0}})
length(varbinary) -> bigint                 = octet_length({{0}})
trim(varchar) -> varchar                    = trim({{0}}, {_SPACES})
ltrim(varchar) -> varchar                   = ltrim({{0}}, {_SPACES})
rtrim(varchar) -> varchar                   = rtrim({{0}}, {_SPACES})
replace(varchar, varchar, varchar) -> varchar = CASE WHEN {{1}} = '' THEN error('NOT_SUPPORTED: not supported by the local Athena: replace of an empty string') ELSE replace({{0}}, {{1}}, {{2}}) END
replace(varchar, varchar) -> varchar        = replace({{0}}, {{1}}, '')
reverse(varchar) -> varchar = CASE WHEN strlen({{0}}) <> length({{0}}) THEN array_to_string(list_transform(range(length({{0}}), 0, -1), lambda _i: substr({{0}}, _i, 1)), '') ELSE reverse({{0}}) END
reverse(array(T)) -> array(T)               = list_reverse({{0}})
lpad(varchar, bigint, varchar) -> varchar   = CASE WHEN {{1}} < 0 OR {{2}} = '' THEN error('INVALID_FUNCTION_ARGUMENT: Padding string must not be empty and target length must be in the range [0..2147483647]') ELSE lpad({{0}}, CAST({{1}} AS INTEGER), {{2}}) END
rpad(varchar, bigint, varchar) -> varchar   = CASE WHEN {{1}} < 0 OR {{2}} = '' THEN error('INVALID_FUNCTION_ARGUMENT: Padding string must not be empty and target length must be in the range [0..2147483647]') ELSE rpad({{0}}, CAST({{1}} AS INTEGER), {{2}}) END
split(varchar, varchar) -> array(varchar)   = CASE WHEN {{1}} = '' THEN error('INVALID_FUNCTION_ARGUMENT: The delimiter may not be the empty string') ELSE string_split({{0}}, {{1}}) END
split(varchar, varchar, bigint) -> array(varchar) = CASE WHEN {{2}} <= 0 THEN error('INVALID_FUNCTION_ARGUMENT: Limit must be positive') WHEN {{1}} = '' THEN error('INVALID_FUNCTION_ARGUMENT: The delimiter may not be the empty string') WHEN len(string_split({{0}}, {{1}})) <= {{2}} THEN string_split({{0}}, {{1}}) ELSE list_append(string_split({{0}}, {{1}})[:{{2}} - 1], array_to_string(string_split({{0}}, {{1}})[{{2}}:], {{1}})) END
split_part(varchar, varchar, bigint) -> varchar = CASE WHEN {{2}} <= 0 THEN error('INVALID_FUNCTION_ARGUMENT: Index must be greater than zero') WHEN {{1}} = '' THEN error('NOT_SUPPORTED: not supported by the local Athena: split_part by an empty string') ELSE string_split({{0}}, {{1}})[{{2}}] END
strpos(varchar, varchar) -> bigint          = strpos({{0}}, {{1}})
position(varchar, varchar) -> bigint        = strpos({{1}}, {{0}})
starts_with(varchar, varchar) -> boolean    = starts_with({{0}}, {{1}})
substr(varchar, bigint) -> varchar          = CASE WHEN {{1}} = 0 OR abs({{1}}) > length({{0}}) THEN '' ELSE substr({{0}}, {{1}}) END
substr(varchar, bigint, bigint) -> varchar  = CASE WHEN {{1}} = 0 OR {{2}} <= 0 OR abs({{1}}) > length({{0}}) THEN '' ELSE substr({{0}}, {{1}}, {{2}}) END
chr(bigint) -> varchar                      = chr(CAST({{0}} AS INTEGER))
codepoint(varchar) -> integer               = CASE WHEN length({{0}}) <> 1 THEN error('INVALID_FUNCTION_ARGUMENT: Input string must be a single character string') ELSE unicode({{0}}) END
levenshtein_distance(varchar, varchar) -> bigint = CASE WHEN strlen({{0}}) + strlen({{1}}) <> length({{0}}) + length({{1}}) THEN error('NOT_SUPPORTED: not supported by the local Athena: levenshtein_distance of a text that is not ASCII') ELSE levenshtein({{0}}, {{1}}) END
hamming_distance(varchar, varchar) -> bigint = CASE WHEN length({{0}}) <> length({{1}}) THEN error('INVALID_FUNCTION_ARGUMENT: The input strings to hamming_distance function must have the same length') WHEN strlen({{0}}) + strlen({{1}}) <> length({{0}}) + length({{1}}) THEN error('NOT_SUPPORTED: not supported by the local Athena: hamming_distance of a text that is not ASCII') ELSE hamming({{0}}, {{1}}) END
translate(varchar, varchar, varchar) -> varchar = translate({{0}}, {{1}}, {{2}})
to_utf8(varchar) -> varbinary               = encode({{0}})
from_utf8(varbinary) -> varchar             = decode({{0}})
md5(varbinary) -> varbinary                 = unhex(md5({{0}}))
sha1(varbinary) -> varbinary                = unhex(sha1({{0}}))
sha256(varbinary) -> varbinary              = unhex(sha256({{0}}))
to_hex(varbinary) -> varchar                = hex({{0}})
from_hex(varchar) -> varbinary              = unhex({{0}})
to_base64(varbinary) -> varchar             = to_base64({{0}})
from_base64(varchar) -> varbinary           = from_base64({{0}})
url_encode(varchar) -> varchar              = replace(replace(replace(url_encode({{0}}), '%20', '+'), '~', '%7E'), '%2A', '*')
url_decode(varchar) -> varchar              = url_decode(replace({{0}}, '+', ' '))
url_extract_protocol(varchar) -> varchar    = nullif(regexp_extract({{0}}, '^([A-Za-z][A-Za-z0-9+.-]*):', 1), '')
url_extract_host(varchar) -> varchar        = nullif(regexp_extract({{0}}, '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#:]+)', 1), '')
url_extract_port(varchar) -> bigint         = CAST(nullif(regexp_extract({{0}}, '^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*:([0-9]+)', 1), '') AS BIGINT)
url_extract_path(varchar) -> varchar        = CASE WHEN regexp_matches({{0}}, '^[A-Za-z][A-Za-z0-9+.-]*://') THEN url_decode(regexp_extract({{0}}, '^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*([^?#]*)', 1)) END
url_extract_query(varchar) -> varchar       = CASE WHEN contains({{0}}, '?') THEN url_decode(regexp_extract({{0}}, '^[^?#]*\\?([^#]*)', 1)) END
url_extract_fragment(varchar) -> varchar    = CASE WHEN contains({{0}}, '#') THEN url_decode(regexp_extract({{0}}, '#(.*)$', 1)) END
url_extract_parameter(varchar, varchar) -> varchar = list_transform(list_filter(string_split(regexp_extract({{0}}, '^[^?#]*\\?([^#]*)', 1), '&'), lambda _u: split_part(_u, '=', 1) = {{1}}), lambda _u: url_decode(replace(substr(_u, length({{1}}) + 2), '+', ' ')))[1]
year(when) -> bigint                        = year({{0}})
quarter(when) -> bigint                     = quarter({{0}})
month(when) -> bigint                       = month({{0}})
week(when) -> bigint                        = weekofyear({{0}})
week_of_year(when) -> bigint                = weekofyear({{0}})
day(when) -> bigint                         = day({{0}})
day_of_month(when) -> bigint                = day({{0}})
day_of_week(when) -> bigint                 = isodow({{0}})
dow(when) -> bigint                         = isodow({{0}})
day_of_year(when) -> bigint                 = dayofyear({{0}})
doy(when) -> bigint                         = dayofyear({{0}})
year_of_week(when) -> bigint                = isoyear({{0}})
yow(when) -> bigint                         = isoyear({{0}})
hour(moment) -> bigint                      = hour({{0}})
minute(moment) -> bigint                    = minute({{0}})
second(moment) -> bigint                    = second({{0}})
millisecond(moment) -> bigint               = millisecond({{0}}) % 1000
last_day_of_month(when) -> date             = last_day({{0}})
to_unixtime(timestamp with time zone) -> double = epoch({{0}})
to_unixtime(timestamp) -> double            = epoch({{0}})
sequence(bigint, bigint) -> array(bigint)   = CASE WHEN {{1}} < {{0}} THEN range({{0}}, {{1}} - 1, -1) ELSE range({{0}}, {{1}} + 1) END
sequence(bigint, bigint, bigint) -> array(bigint) = CASE WHEN {{2}} = 0 OR ({{2}} > 0) <> ({{1}} >= {{0}}) THEN error('INVALID_FUNCTION_ARGUMENT: sequence stop value should be greater than or equal to start value if step is greater than zero otherwise stop should be less than or equal to start') ELSE range({{0}}, {{1}} + CAST(sign({{2}}) AS BIGINT), {{2}}) END
sequence(date, date) -> array(date)         = list_transform(range({{0}}, {{1}} + INTERVAL 1 DAY, INTERVAL 1 DAY), lambda _d: CAST(_d AS DATE))
sequence(date, date, interval day to second) -> array(date) = list_transform(generate_series(CAST({{0}} AS TIMESTAMP), CAST({{1}} AS TIMESTAMP), {{2}}), lambda _d: CAST(_d AS DATE))
sequence(date, date, interval year to month) -> array(date) = list_transform(generate_series(CAST({{0}} AS TIMESTAMP), CAST({{1}} AS TIMESTAMP), {{2}}), lambda _d: CAST(_d AS DATE))
sequence(timestamp, timestamp, interval day to second) -> array(timestamp) = generate_series({{0}}, {{1}}, {{2}})
cardinality(array(T)) -> bigint             = len({{0}})
cardinality(map(K,V)) -> bigint             = cardinality({{0}})
element_at(array(T), bigint) -> T           = CASE WHEN {{1}} = 0 THEN error('INVALID_FUNCTION_ARGUMENT: SQL array indices start at 1') ELSE list_extract({{0}}, {{1}}) END
element_at(map(K,V), K) -> V                = map_extract({{0}}, {{1}})[1]
contains(array(T), T) -> boolean            = CASE WHEN list_contains({{0}}, {{1}}) THEN true WHEN len(list_filter({{0}}, lambda _e: _e IS NULL)) > 0 OR {{1}} IS NULL THEN NULL WHEN {{0}} IS NULL THEN NULL ELSE false END
array_distinct(array(T)) -> array(T)        = list_filter({{0}}, lambda _e, _i: len(list_filter(list_slice({{0}}, 1, _i - 1), lambda _f: _f IS NOT DISTINCT FROM _e)) = 0)
array_sort(array(T)) -> array(T)            = list_sort({{0}}, 'ASC', 'NULLS LAST')
array_join(array(varchar), varchar) -> varchar = coalesce(array_to_string({{0}}, {{1}}), CASE WHEN {{0}} IS NOT NULL THEN '' END)
array_join(array(bigint), varchar) -> varchar = coalesce(array_to_string({{0}}, {{1}}), CASE WHEN {{0}} IS NOT NULL THEN '' END)
array_join(array(varchar), varchar, varchar) -> varchar = coalesce(array_to_string(list_transform({{0}}, lambda _e: coalesce(_e, {{2}})), {{1}}), CASE WHEN {{0}} IS NOT NULL THEN '' END)
array_join(array(bigint), varchar, varchar) -> varchar = coalesce(array_to_string(list_transform({{0}}, lambda _e: coalesce(CAST(_e AS VARCHAR), {{2}})), {{1}}), CASE WHEN {{0}} IS NOT NULL THEN '' END)
array_max(array(T)) -> T                    = CASE WHEN len(list_filter({{0}}, lambda _e: _e IS NULL)) > 0 THEN NULL ELSE list_max({{0}}) END
array_min(array(T)) -> T                    = CASE WHEN len(list_filter({{0}}, lambda _e: _e IS NULL)) > 0 THEN NULL ELSE list_min({{0}}) END
array_position(array(T), T) -> bigint       = CASE WHEN {{0}} IS NULL OR {{1}} IS NULL THEN NULL ELSE coalesce(list_position({{0}}, {{1}}), 0) END
array_remove(array(T), T) -> array(T)       = CASE WHEN {{1}} IS NULL THEN NULL ELSE list_filter({{0}}, lambda _e: _e IS DISTINCT FROM {{1}}) END
arrays_overlap(array(T), array(T)) -> boolean = CASE WHEN list_has_any({{0}}, {{1}}) THEN true WHEN {{0}} IS NULL OR {{1}} IS NULL THEN NULL WHEN len(list_filter(list_concat({{0}}, {{1}}), lambda _e: _e IS NULL)) > 0 THEN NULL ELSE false END
flatten(array(array(T))) -> array(T)        = flatten({{0}})
slice(array(T), bigint, bigint) -> array(T) = CASE WHEN {{1}} = 0 THEN error('INVALID_FUNCTION_ARGUMENT: SQL array indices start at 1') WHEN {{2}} < 0 THEN error('INVALID_FUNCTION_ARGUMENT: length must be greater than or equal to 0') WHEN {{1}} < 0 AND -{{1}} > len({{0}}) THEN [] WHEN {{1}} < 0 THEN list_slice({{0}}, len({{0}}) + {{1}} + 1, len({{0}}) + {{1}} + {{2}}) ELSE list_slice({{0}}, {{1}}, {{1}} + {{2}} - 1) END
repeat(T, bigint) -> array(T)               = list_transform(range({{1}}), lambda _i: {{0}})
transform(array(T), T->U) -> array(U)       = list_transform({{0}}, {{1}})
filter(array(T), T->boolean) -> array(T)    = list_filter({{0}}, {{1}})
any_match(array(T), T->boolean) -> boolean  = CASE WHEN {{0}} IS NULL THEN NULL WHEN list_contains(list_transform({{0}}, {{1}}), true) THEN true WHEN len(list_filter(list_transform({{0}}, {{1}}), lambda _e: _e IS NULL)) > 0 THEN NULL ELSE false END
all_match(array(T), T->boolean) -> boolean  = CASE WHEN {{0}} IS NULL THEN NULL WHEN len({{0}}) = 0 THEN true WHEN list_contains(list_transform({{0}}, {{1}}), false) THEN false WHEN len(list_filter(list_transform({{0}}, {{1}}), lambda _e: _e IS NULL)) > 0 THEN NULL ELSE true END
none_match(array(T), T->boolean) -> boolean = CASE WHEN {{0}} IS NULL THEN NULL WHEN list_contains(list_transform({{0}}, {{1}}), true) THEN false WHEN len(list_filter(list_transform({{0}}, {{1}}), lambda _e: _e IS NULL)) > 0 THEN NULL ELSE true END
zip_with(array(T), array(U), (T,U)->V) -> array(V) = list_transform(list_zip({{0}}, {{1}}), {{2}})
map() -> map(unknown,unknown)               = MAP {{{{}}}}
map(array(K), array(V)) -> map(K,V)         = map({{0}}, {{1}})
map_keys(map(K,V)) -> array(K)              = map_keys({{0}})
map_values(map(K,V)) -> array(V)            = map_values({{0}})
map_concat(map(K,V), map(K,V)) -> map(K,V)  = map_concat({{0}}, {{1}})
map_from_entries(array(row(K,V))) -> map(K,V) = map_from_entries({{0}})
map_filter(map(K,V), (K,V)->boolean) -> map(K,V) = map_from_entries(list_filter(map_entries({{0}}), {{1}}))
transform_values(map(K,V), (K,V)->U) -> map(K,U) = map_from_entries(list_transform(map_entries({{0}}), lambda {{entry}}: struct_pack(k := {{entry}}.key, v := {{1}})))
json_array_length(json) -> bigint           = CASE WHEN json_type({{0}}) = 'ARRAY' THEN json_array_length({{0}}) END
json_array_length(varchar) -> bigint        = CASE WHEN json_valid({{0}}) THEN CASE WHEN json_type({{0}}) = 'ARRAY' THEN json_array_length({{0}}) END END
regexp_like(varchar, varchar) -> boolean    = regexp_matches({{0}}, {{1}})
concat_ws(varchar, array(varchar)) -> varchar = CASE WHEN {{0}} IS NULL THEN NULL ELSE array_to_string({{1}}, {{0}}) END
"""

_AGGREGATE = """
count() -> bigint                           = count(*)
count(T) -> bigint                          = count({0})
count_if(boolean) -> bigint                 = CAST(count_if({0}) AS BIGINT)
sum(bigint) -> bigint                       = CAST(sum({0}) AS BIGINT)
sum(real) -> real                           = CAST(sum({0}) AS FLOAT)
sum(double) -> double                       = sum({0})
avg(bigint) -> double                       = avg({0})
avg(real) -> real                           = CAST(avg({0}) AS FLOAT)
avg(double) -> double                       = avg({0})
min(T) -> T                                 = min({0})
max(T) -> T                                 = max({0})
min(T, bigint) -> array(T)                  = min({0}, {1})
max(T, bigint) -> array(T)                  = max({0}, {1})
min_by(T, U) -> T                           = arg_min_null({0}, {1})
max_by(T, U) -> T                           = arg_max_null({0}, {1})
arbitrary(T) -> T                           = any_value({0})
any_value(T) -> T                           = any_value({0})
array_agg(T) -> array(T)                    = array_agg({0})
approx_distinct(T) -> bigint                = count(DISTINCT {0})
approx_distinct(T, double) -> bigint        = count(DISTINCT {0})
bool_and(boolean) -> boolean                = bool_and({0})
every(boolean) -> boolean                   = bool_and({0})
bool_or(boolean) -> boolean                 = bool_or({0})
stddev(double) -> double                    = stddev_samp({0})
stddev_samp(double) -> double               = stddev_samp({0})
stddev_pop(double) -> double                = stddev_pop({0})
variance(double) -> double                  = var_samp({0})
var_samp(double) -> double                  = var_samp({0})
var_pop(double) -> double                   = var_pop({0})
corr(double, double) -> double              = corr({0}, {1})
covar_pop(double, double) -> double         = covar_pop({0}, {1})
covar_samp(double, double) -> double        = covar_samp({0}, {1})
regr_slope(double, double) -> double        = regr_slope({0}, {1})
regr_intercept(double, double) -> double    = regr_intercept({0}, {1})
geometric_mean(double) -> double            = geomean({0})
bitwise_and_agg(bigint) -> bigint           = bit_and({0})
bitwise_or_agg(bigint) -> bigint            = bit_or({0})
histogram(T) -> map(T,bigint)               = histogram({0})
map_agg(K, V) -> map(K,V)                   = map_from_entries(array_agg(struct_pack(k := {0}, v := {1})))
approx_percentile(bigint, double) -> bigint = quantile_disc({0}, {1})
approx_percentile(double, double) -> double = quantile_disc({0}, {1})
approx_percentile(bigint, array(double)) -> array(bigint) = quantile_disc({0}, {1})
approx_percentile(double, array(double)) -> array(double) = quantile_disc({0}, {1})
"""

_WINDOW = """
row_number() -> bigint                      = row_number()
rank() -> bigint                            = rank()
dense_rank() -> bigint                      = dense_rank()
percent_rank() -> double                    = percent_rank()
cume_dist() -> double                       = cume_dist()
ntile(bigint) -> bigint                     = ntile({0})
lag(T) -> T                                 = lag({0})
lag(T, bigint) -> T                         = lag({0}, {1})
lag(T, bigint, T) -> T                      = lag({0}, {1}, {2})
lead(T) -> T                                = lead({0})
lead(T, bigint) -> T                        = lead({0}, {1})
lead(T, bigint, T) -> T                     = lead({0}, {1}, {2})
first_value(T) -> T                         = first_value({0})
last_value(T) -> T                          = last_value({0})
nth_value(T, bigint) -> T                   = nth_value({0}, {1})
"""

_VARIABLES = ("T", "U", "K", "V", "N", "I")


@dataclass(frozen=True)
class Signature:
    """One way to call a function."""

    name: str
    params: tuple[Type, ...]
    result: Type
    template: str

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.params))})"


def _split(text: str) -> list[str]:
    """Split at the commas that are outside of parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _type(text: str) -> Type:
    if "->" in text:
        params, _, result = text.partition("->")
        return Type(
            "function", tuple(map(_type, [*_split(params.strip("()") if params.startswith("(") else params), result]))
        )
    match = re.fullmatch(r"(array|map|row)\((.*)\)", text)
    if match:
        args = tuple(map(_type, _split(match[2])))
        return Type(match[1], args, (None,) * len(args) if match[1] == "row" else ())
    return Type(text) if text in (*_VARIABLES, "when", "moment", "unknown") or " " in text else from_hive(text)


def _table(text: str) -> dict[str, list[Signature]]:
    table: dict[str, list[Signature]] = {}
    for line in text.strip().splitlines():
        match = re.fullmatch(r"(\w+)\((.*?)\) -> (.*?)\s* = (.*)", line)
        assert match, line
        name, params, result, template = match.groups()
        signature = Signature(name, tuple(map(_type, _split(params))), _type(result), template)
        table.setdefault(name, []).append(signature)
    return table


@cache
def scalar() -> dict[str, list[Signature]]:
    """Return the scalar functions."""
    return _table(_SCALAR)


@cache
def aggregate() -> dict[str, list[Signature]]:
    """Return the aggregate functions."""
    return _table(_AGGREGATE)


@cache
def window() -> dict[str, list[Signature]]:
    """Return the functions that are only for windows."""
    return _table(_WINDOW)


def fit(signature: Signature, types: Sequence[Type | None], *, convert: bool) -> dict[str, Type] | None:
    """Return what the letters of a signature stand for when it is called with these types, None if it does not fit.

    Args:
        signature: of the function.
        types: of the arguments; None for a lambda.
        convert: whether arguments may be converted as Trino does by itself.
    """
    if len(types) != len(signature.params):
        return None
    bound: dict[str, Type] = {}
    for param, kind in zip(signature.params, types, strict=True):
        if (param.base == "function") != (kind is None):
            return None
        if kind is not None and not _bind(param, kind, bound, convert):
            return None
    return bound


def _bind(param: Type, kind: Type, bound: dict[str, Type], convert: bool) -> bool:
    if param.base in _VARIABLES:
        if param.base == "I" and kind.base not in INTEGERS:
            return False
        if param.base == "N" and not kind.numeric:
            return False
        known = bound.get(param.base)
        together = common(known, kind) if known else kind
        if together is None or (known and together != known and not convert and known.base != "unknown"):
            return False
        bound[param.base] = together
        return True
    if param.base == "when":
        return kind.base in ("date", "timestamp", "timestamp with time zone", "unknown")
    if param.base == "moment":
        return kind.base in ("timestamp", "timestamp with time zone", "unknown")
    if kind.base == "unknown":
        return True
    if param.base in ("array", "map", "row"):
        return (
            kind.base == param.base
            and len(kind.args) == len(param.args)
            and all(_bind(p, k, bound, convert) for p, k in zip(param.args, kind.args, strict=True))
        )
    if param.base == kind.base:
        return True
    together = common(param, kind)
    return convert and together is not None and together.base == param.base


def resolve(param: Type, bound: dict[str, Type]) -> Type:
    """Return a type of a signature with its letters replaced."""
    if param.base in bound:
        return bound[param.base]
    if param.base in _VARIABLES:
        return Type("unknown")
    return Type(
        param.base, tuple(resolve(arg, bound) if isinstance(arg, Type) else arg for arg in param.args), param.names
    )
