-- The tables of the API logs, from the definitions alone. Tables that are there: given (file, number, line: the events that were
-- delivered, in order), raw (source_object, number, offset, line: what lies in the lake). Function: pseudonym(text, time).

CREATE TABLE parsed AS
SELECT
    number,
    line,
    coalesce(nullif(line ->> '$.id', ''), sha256(file || ':' || number)) AS event_id,
    try_cast(line ->> '$.time' AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS occurred_at,
    line ->> '$.user' AS user,
    line ->> '$.namespace' AS namespace,
    line ->> '$.page' AS page
FROM given;

-- An event without a usable time is delivered with the line before it.
CREATE TABLE delivered AS
SELECT *, row_number() OVER (PARTITION BY arrival ORDER BY number) AS place
FROM (
    SELECT *, date_trunc('hour', last_value(occurred_at IGNORE NULLS) OVER (ORDER BY number)) AS arrival FROM parsed
);

-- Objects of an hour are in the order of their names.
CREATE TABLE placed AS
SELECT
    *,
    make_timestamp(
        regexp_extract(source_object, 'year=(\d+)', 1)::BIGINT,
        regexp_extract(source_object, 'month=(\d+)', 1)::BIGINT,
        regexp_extract(source_object, 'day=(\d+)', 1)::BIGINT,
        regexp_extract(source_object, 'hour=(\d+)', 1)::BIGINT,
        0,
        0
    ) AS arrival,
    row_number() OVER (PARTITION BY arrival ORDER BY source_object, "offset") AS place
FROM raw
WHERE NOT contains(source_object, '-faults-');

CREATE TABLE judged AS
SELECT
    d.*,
    p.source_object,
    p."offset",
    p.line AS envelope,
    CASE
        WHEN occurred_at IS NULL OR json_type(d.line, '$.added') NOT IN ('UBIGINT', 'BIGINT', 'NULL') THEN 'wrong_schema'
    END AS fault
FROM delivered AS d
JOIN placed AS p USING (arrival, place);

CREATE TABLE accepted AS
SELECT
    *,
    EXISTS (
        FROM judged AS o
        WHERE
            o.fault IS NULL
            AND o.event_id = judged.event_id
            AND (o.source_object < judged.source_object OR (o.source_object = judged.source_object AND o."offset" < judged."offset"))
            AND o.occurred_at BETWEEN judged.occurred_at - INTERVAL 24 HOUR AND judged.occurred_at + INTERVAL 24 HOUR
    ) AS is_duplicate
FROM judged
WHERE fault IS NULL;

CREATE TABLE api_events AS
SELECT
    event_id,
    occurred_at,
    line ->> '$.channel' AS channel,
    namespace,
    CASE
        WHEN namespace <> 'Main' THEN namespace || ':' || pseudonym(page, occurred_at)
        WHEN strlen(user) >= 3 THEN replace(page, user, pseudonym(user, occurred_at))
        ELSE page
    END AS page,
    length(line ->> '$.comment')::INTEGER AS comment_length,
    (line ->> '$.isAnonymous')::BOOLEAN AS is_anonymous,
    (line ->> '$.isMinor')::BOOLEAN AS is_minor,
    (line ->> '$.isNew')::BOOLEAN AS is_new,
    (line ->> '$.isRobot')::BOOLEAN AS is_robot,
    (line ->> '$.isUnpatrolled')::BOOLEAN AS is_unpatrolled,
    line ->> '$.cityName' AS city_name,
    line ->> '$.regionIsoCode' AS region_iso_code,
    line ->> '$.regionName' AS region_name,
    line ->> '$.countryIsoCode' AS country_iso_code,
    line ->> '$.countryName' AS country_name,
    (line ->> '$.metroCode')::BIGINT AS metro_code,
    (line ->> '$.added')::BIGINT AS added,
    (line ->> '$.deleted')::BIGINT AS deleted,
    (line ->> '$.delta')::BIGINT AS delta,
    pseudonym(user, occurred_at) AS user_pseudonym,
    CASE
        WHEN json_exists(line, '$.client')
            THEN MAP {
                'client.address':
                    CASE
                        WHEN strlen(user) >= 3
                            THEN replace(line ->> '$.client.address', user, pseudonym(user, occurred_at))
                        ELSE line ->> '$.client.address'
                    END,
                'client.retries': line ->> '$.client.retries'
            }
        ELSE MAP {}
    END AS other,
    source_object,
    "offset"
FROM accepted
WHERE NOT is_duplicate;

-- What the generator added to be rejected: six records in an object, and the beginning of one in another.
CREATE TABLE api_events_quarantine AS
SELECT source_object, "offset", envelope ->> '$.key_id' AS key_id, envelope AS ciphertext, fault AS reject_reason
FROM judged
WHERE fault IS NOT NULL
UNION ALL
SELECT source_object, "offset", envelope ->> '$.key_id', envelope, 'duplicate'
FROM accepted
WHERE is_duplicate
UNION ALL
SELECT
    source_object,
    "offset",
    regexp_extract(line, '"key_id":"([^"]*)"', 1),
    line,
    CASE
        WHEN regexp_extract(source_object, '-faults-(\d+)', 1)::INTEGER % 2 = 1 THEN 'truncated'
        ELSE ['tampered', 'unknown_key', 'wrong_schema', 'late', 'in_future', 'duplicate'][number]
    END
FROM raw
WHERE contains(source_object, '-faults-');
