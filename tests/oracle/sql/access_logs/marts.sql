CREATE TABLE hourly_traffic AS
SELECT
    date_trunc('hour', requested_at) AS hour,
    count(*) AS requests,
    count(*) FILTER (status // 100 = 4) AS errors_4xx,
    count(*) FILTER (status // 100 = 5) AS errors_5xx,
    coalesce(sum(bytes), 0)::BIGINT AS bytes,
    count(DISTINCT host) AS hosts,
    day
FROM access_requests
GROUP BY ALL;

CREATE TABLE resources AS
SELECT *, CASE WHEN path IS NULL THEN '(no path)' ELSE regexp_replace(path, '\?.*', '') END AS resource
FROM access_requests;

CREATE TABLE status_by_path AS
SELECT resource AS path, status, count(*) AS requests, coalesce(sum(bytes), 0)::BIGINT AS bytes, day
FROM resources
GROUP BY ALL;

CREATE TABLE top_resources AS
SELECT
    row_number() OVER (PARTITION BY day ORDER BY count(*) DESC, resource)::INTEGER AS rank,
    resource AS path,
    count(*) AS requests,
    count(*) FILTER (status // 100 = 4) AS errors_4xx,
    count(*) FILTER (status // 100 = 5) AS errors_5xx,
    coalesce(sum(bytes), 0)::BIGINT AS bytes,
    day
FROM resources
WHERE path IS NOT NULL
GROUP BY resource, day
QUALIFY rank <= 100;

-- A session ends where no request of the client follows within 30 minutes; it is counted by what lies between.
CREATE TABLE sessions AS
WITH starts AS (
    SELECT DISTINCT host, user_agent, requested_at AS started_at
    FROM access_requests AS one
    WHERE NOT EXISTS (
        FROM access_requests AS other
        WHERE other.host = one.host AND other.user_agent IS NOT DISTINCT FROM one.user_agent
        AND other.requested_at < one.requested_at AND other.requested_at >= one.requested_at - INTERVAL 30 MINUTES
    )
), owned AS (
    SELECT request.host, request.user_agent, request.requested_at, max(starts.started_at) AS started_at, id
    FROM (SELECT *, row_number() OVER () AS id FROM access_requests) AS request
    JOIN starts ON starts.host = request.host AND starts.user_agent IS NOT DISTINCT FROM request.user_agent
        AND starts.started_at <= request.requested_at
    GROUP BY ALL
)
SELECT
    md5(
        host || chr(10) || epoch_us(started_at) || CASE WHEN user_agent IS NULL THEN '' ELSE chr(10) || chr(10) || user_agent END
    ) AS session_id,
    host,
    user_agent,
    started_at,
    max(requested_at) AS ended_at,
    count(*) AS requests,
    started_at::DATE AS day
FROM owned
GROUP BY host, user_agent, started_at;

-- unescaped(text) and patterns(rule, text) come from the contract.
CREATE TABLE suspicious_clients AS
WITH totals AS (
    SELECT host, day, count(*) AS requests, count(*) FILTER (status // 100 = 4) AS errors FROM access_requests GROUP BY ALL
), matches AS (
    SELECT host, day, 'many_4xx' AS rule, errors AS matches FROM totals WHERE requests >= 10 AND errors >= requests / 2
    UNION ALL
    SELECT host, day, 'malformed_request', count(*) FROM access_requests WHERE path IS NULL GROUP BY ALL
    UNION ALL
    SELECT host, day, rule, count(DISTINCT id)
    FROM (SELECT *, row_number() OVER () AS id FROM access_requests) AS request
    JOIN patterns ON contains(unescaped(lower(path)), text)
    GROUP BY ALL
)
SELECT host, rule, matches, requests, day FROM matches JOIN totals USING (host, day);
