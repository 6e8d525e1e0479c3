CREATE TABLE market_share AS
WITH company_days AS (
    SELECT
        month,
        company,
        borough AS pickup_borough,
        pickup_datetime::DATE AS pickup_date,
        count(*) AS trips,
        sum(base_passenger_fare) AS fare_revenue,
        sum(driver_pay) AS driver_pay
    FROM curated
    JOIN zones ON zone_id = pickup_zone_id
    GROUP BY ALL
)

SELECT
    month,
    company,
    pickup_borough,
    pickup_date,
    trips,
    trips / sum(trips) OVER borough_day AS trip_share,
    fare_revenue,
    fare_revenue / nullif(sum(fare_revenue) OVER borough_day, 0) AS revenue_share,
    driver_pay
FROM company_days
WINDOW borough_day AS (PARTITION BY month, pickup_borough, pickup_date);
