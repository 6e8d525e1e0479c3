-- Nearest rank: the p-th percentile of n values is the first, in order, at a position of at least p/100 × n.
CREATE TABLE service_quality AS
WITH
arrived AS (SELECT *, hour(request_datetime) AS request_hour, arrival_s IS NOT NULL AS has_arrival FROM timed),

ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY month, company, pickup_zone_id, request_hour ORDER BY wait_s) AS wait_position,
        count(*) OVER (PARTITION BY month, company, pickup_zone_id, request_hour) AS waits,
        row_number() OVER (
            PARTITION BY month, company, pickup_zone_id, request_hour, has_arrival ORDER BY arrival_s
        ) AS arrival_position,
        count(arrival_s) OVER (PARTITION BY month, company, pickup_zone_id, request_hour) AS arrivals
    FROM arrived
)

SELECT
    month,
    company,
    pickup_zone_id,
    request_hour::INTEGER AS request_hour,
    count(*) AS trips,
    avg(wait_s) AS wait_s_mean,
    min(wait_s) FILTER (WHERE 100 * wait_position >= 50 * waits) AS wait_s_p50,
    min(wait_s) FILTER (WHERE 100 * wait_position >= 90 * waits) AS wait_s_p90,
    min(wait_s) FILTER (WHERE 100 * wait_position >= 95 * waits) AS wait_s_p95,
    count(*) FILTER (WHERE wait_s > 600) AS late_trips,
    avg(arrival_s) AS arrival_s_mean,
    min(arrival_s) FILTER (WHERE has_arrival AND 100 * arrival_position >= 50 * arrivals) AS arrival_s_p50,
    min(arrival_s) FILTER (WHERE has_arrival AND 100 * arrival_position >= 90 * arrivals) AS arrival_s_p90
FROM ranked
GROUP BY ALL;
