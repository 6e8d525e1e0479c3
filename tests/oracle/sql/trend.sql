CREATE TABLE trend AS
WITH
waits AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY month, company ORDER BY wait_s) AS position,
        count(*) OVER (PARTITION BY month, company) AS waits
    FROM timed
),

waits_of_company AS (
    SELECT
        month,
        company,
        avg(wait_s) AS wait_s_mean,
        min(wait_s) FILTER (WHERE 100 * position >= 50 * waits) AS wait_s_p50,
        min(wait_s) FILTER (WHERE 100 * position >= 90 * waits) AS wait_s_p90
    FROM waits
    GROUP BY ALL
),

companies_of_month AS (
    SELECT month, company, count(*) AS trips, sum(base_passenger_fare) AS fare_revenue, sum(driver_pay) AS driver_pay
    FROM curated
    GROUP BY ALL
)

SELECT
    month,
    company,
    trips,
    wait_s_mean,
    wait_s_p50,
    wait_s_p90,
    fare_revenue,
    driver_pay,
    trips / sum(trips) OVER (PARTITION BY month) AS trip_share
FROM companies_of_month
LEFT JOIN waits_of_company USING (month, company);
