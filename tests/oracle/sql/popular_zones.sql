CREATE TABLE popular_zones AS
WITH zone_days AS (
    SELECT
        month,
        pickup_datetime::DATE AS pickup_date,
        pickup_zone_id AS zone_id,
        count(*) AS trips
    FROM curated
    GROUP BY ALL
)

SELECT
    d.month,
    d.pickup_date,
    d.zone_id,
    d.trips,
    -- One more than the zones that had more trips that day.
    (
        SELECT count(*) + 1
        FROM zone_days AS o
        WHERE o.month = d.month AND o.pickup_date = d.pickup_date AND o.trips > d.trips
    )::INTEGER AS rank,
    z.zone_name,
    z.borough
FROM zone_days AS d
JOIN zones AS z USING (zone_id);
