CREATE TABLE rising_zones AS
WITH
months AS (SELECT month, count(*) AS trips FROM curated GROUP BY month),

zone_months AS (SELECT month, pickup_zone_id AS zone_id, count(*) AS trips FROM curated GROUP BY ALL),

-- The months present among the three before each month.
baseline_months AS (
    SELECT m.month, b.month AS baseline_month, b.trips
    FROM months AS m
    JOIN months AS b ON b.month >= m.month - INTERVAL 3 MONTH AND b.month < m.month
),

baselines AS (
    SELECT
        z.month,
        z.zone_id,
        avg(coalesce(o.trips, 0) / b.trips) AS baseline_share,
        sum(coalesce(o.trips, 0)) AS zone_trips,
        sum(b.trips) AS all_trips
    FROM zone_months AS z
    JOIN baseline_months AS b ON b.month = z.month
    LEFT JOIN zone_months AS o ON o.month = b.baseline_month AND o.zone_id = z.zone_id
    GROUP BY ALL
),

compared AS (
    SELECT
        z.month,
        z.zone_id,
        z.trips,
        z.trips / m.trips AS share,
        b.baseline_share,
        z.trips / m.trips / nullif(b.baseline_share, 0) - 1 AS growth,
        b.zone_trips / b.all_trips AS earlier_share,
        (z.trips + b.zone_trips) / (m.trips + b.all_trips) AS pooled_share,
        1 / m.trips + 1 / b.all_trips AS inverse_sizes
    FROM zone_months AS z
    JOIN months AS m USING (month)
    LEFT JOIN baselines AS b USING (month, zone_id)
),

scored AS (
    SELECT
        *,
        (share - earlier_share) / nullif(sqrt(pooled_share * (1 - pooled_share) * inverse_sizes), 0) AS z
    FROM compared
)

SELECT
    month,
    zone_id,
    trips,
    share,
    baseline_share,
    growth,
    z,
    CASE
        WHEN baseline_share IS NOT NULL THEN rank() OVER (PARTITION BY month ORDER BY z DESC NULLS LAST)
    END::INTEGER AS rank
FROM scored;
