-- The marts of a day's requests, of the view `requests`.
-- From the contracts: variables many, pause_us; macros unescaped(text), rules(text), a list with the rules that match.

CREATE TABLE hourly_traffic AS
SELECT
    hour,
    sum(requests)::BIGINT AS requests,
    sum(errors_4xx)::BIGINT AS errors_4xx,
    sum(errors_5xx)::BIGINT AS errors_5xx,
    sum(bytes)::BIGINT AS bytes,
    count(*) AS hosts
FROM (
    SELECT
        date_trunc('hour', requested_at) AS hour,
        host,
        count(*) AS requests,
        count_if(status BETWEEN 400 AND 499) AS errors_4xx,
        count_if(status BETWEEN 500 AND 599) AS errors_5xx,
        coalesce(sum(bytes), 0) AS bytes
    FROM requests
    GROUP BY ALL
)
GROUP BY hour;

CREATE TABLE status_by_path AS
SELECT path, status, sum(requests)::BIGINT AS requests, sum(bytes)::BIGINT AS bytes
FROM (
    SELECT
        coalesce(split_part(path, '?', 1), '(no path)') AS path,
        status,
        count(*) AS requests,
        coalesce(sum(bytes), 0) AS bytes
    FROM requests
    GROUP BY requests.path, status
)
GROUP BY ALL;

CREATE TABLE top_resources AS
SELECT (row_number() OVER (ORDER BY requests DESC, path))::INTEGER AS rank, *
FROM (
    SELECT
        path,
        sum(requests)::BIGINT AS requests,
        coalesce(sum(requests) FILTER (status BETWEEN 400 AND 499), 0)::BIGINT AS errors_4xx,
        coalesce(sum(requests) FILTER (status BETWEEN 500 AND 599), 0)::BIGINT AS errors_5xx,
        sum(bytes)::BIGINT AS bytes
    FROM status_by_path
    WHERE path <> '(no path)'
    GROUP BY path
    ORDER BY requests DESC, path
    LIMIT 100
);

-- Each path is looked at once, whoever asked for it.
CREATE TABLE suspicious_clients AS
WITH clients AS (
    SELECT
        host,
        count(*) AS requests,
        count_if(status BETWEEN 400 AND 499) AS errors,
        count_if(path IS NULL) AS malformed
    FROM requests
    GROUP BY host
), paths AS (
    SELECT path, unnest(rules(unescaped(lower(path)))) AS rule
    FROM (SELECT DISTINCT path FROM requests WHERE path IS NOT NULL)
), found AS (
    SELECT host, 'many_4xx' AS rule, errors AS matches FROM clients
    WHERE requests >= getvariable('many') AND errors * 2 >= requests
    UNION ALL
    SELECT host, 'malformed_request', malformed FROM clients WHERE malformed > 0
    UNION ALL
    SELECT host, rule, count(*) FROM requests JOIN paths USING (path) GROUP BY ALL
)
SELECT host, rule, matches::BIGINT AS matches, requests FROM found JOIN clients USING (host) WHERE matches > 0;

-- Requests of a client in the same span of one pause are of one session: fewer rows are sorted.
CREATE TABLE sessions AS
WITH spans AS (
    SELECT
        host,
        user_agent,
        epoch_us(requested_at) // getvariable('pause_us') AS span,
        epoch_us(min(requested_at)) AS started,
        epoch_us(max(requested_at)) AS ended,
        count(*) AS requests
    FROM requests
    GROUP BY ALL
), starts AS (
    SELECT *, started - lag(ended, 1, started - getvariable('pause_us') - 1) OVER client > getvariable('pause_us') AS starts
    FROM spans
    WINDOW client AS (PARTITION BY host, user_agent ORDER BY started)
), numbered AS (
    SELECT *, count_if(starts) OVER (PARTITION BY host, user_agent ORDER BY started ROWS UNBOUNDED PRECEDING) AS number
    FROM starts
), found AS (
    SELECT host, user_agent, min(started) AS started, max(ended) AS ended, sum(requests)::BIGINT AS requests
    FROM numbered
    GROUP BY host, user_agent, number
)
SELECT
    md5(host || chr(10) || started || coalesce(chr(10) || chr(10) || user_agent, '')) AS session_id,
    host,
    user_agent,
    make_timestamp(started) AS started_at,
    make_timestamp(ended) AS ended_at,
    requests
FROM found;
