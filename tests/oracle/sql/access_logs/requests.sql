-- The lines of the sample, which has no faults but one, by one regular expression with a group a field.
CREATE TABLE parsed AS
WITH split AS (
    SELECT source_file, folder, line, regexp_extract(
        line,
        '^(\S+) \S+ (\S+) \[(\d\d)/(\w{3})/(\d{4}):(\d\d:\d\d:\d\d) ([+-])(\d\d)(\d\d)\] "((?:[^"\\]|\\.)*)" (\d{3}) (\d+|-)(?: "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)")?$',
        ['host', 'user', 'd', 'mon', 'y', 't', 'sign', 'zh', 'zm', 'request', 'status', 'size', 'referrer', 'agent']
    ) AS f
    FROM lines
    WHERE line <> ''
)
SELECT
    *,
    try_strptime(concat_ws(' ', f.d, f.mon, f.y, f.t), '%d %b %Y %H:%M:%S')
    - TRY_CAST(f.sign || '1' AS INT) * (TRY_CAST(f.zh AS INT) * INTERVAL 1 HOUR + TRY_CAST(f.zm AS INT) * INTERVAL 1 MINUTE)
    AS requested_at,
    string_split(f.request, ' ') AS words
FROM split;

CREATE TABLE access_requests AS
SELECT
    source_file,
    f.host AS host,
    f.user AS "user",
    requested_at,
    CASE WHEN known THEN words[1] END AS method,
    CASE WHEN known THEN words[2] END AS path,
    CASE WHEN known THEN words[3] END AS protocol,
    TRY_CAST(f.status AS INTEGER) AS status,
    TRY_CAST(f.size AS BIGINT) AS bytes,
    CASE WHEN NOT common THEN f.referrer END AS referrer,
    CASE WHEN NOT common THEN f.agent END AS user_agent,
    folder AS day
FROM (
    SELECT
        *,
        len(words) = 3 AND regexp_full_match(words[1], '[A-Z]+') AND words[2] <> ''
        AND regexp_full_match(words[3], '[A-Z]+/\d(\.\d)?') AS known,
        NOT ends_with(line, '"') AS common
    FROM parsed
)
WHERE requested_at::DATE = folder;

CREATE TABLE access_requests_quarantine AS
SELECT
    source_file,
    line AS raw,
    CASE WHEN requested_at IS NULL THEN 'unparsed' ELSE 'outside_day' END AS reject_reason,
    folder AS day
FROM parsed
WHERE requested_at IS NULL OR requested_at::DATE <> folder;
