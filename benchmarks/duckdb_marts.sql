-- Over the view `trips`: the curated Parquet files. One scan gives counts and sums by company, zone and day, from which
-- all but the waits and the training rows follow.
CREATE TABLE zone_days AS
SELECT
    company,
    pickup_zone_id AS zone_id,
    pickup_datetime::DATE AS pickup_date,
    count(*) AS trips,
    sum(base_passenger_fare) AS fare_revenue,
    sum(driver_pay) AS driver_pay
FROM trips
GROUP BY ALL;

CREATE VIEW timed AS FROM trips WHERE wait_s BETWEEN 0 AND 3600;

CREATE VIEW service_quality AS
SELECT
    * EXCLUDE (waits, arrivals, late_trips, arrival_s_mean),
    waits[1] AS wait_s_p50,
    waits[2] AS wait_s_p90,
    waits[3] AS wait_s_p95,
    late_trips,
    arrival_s_mean,
    arrivals[1] AS arrival_s_p50,
    arrivals[2] AS arrival_s_p90
FROM (
    SELECT
        company,
        pickup_zone_id,
        hour(request_datetime)::INTEGER AS request_hour,
        count(*) AS trips,
        avg(wait_s) AS wait_s_mean,
        quantile_disc(wait_s, [0.5, 0.9, 0.95]) AS waits,
        count(*) FILTER (WHERE wait_s > 600) AS late_trips,
        avg(arrival_s) AS arrival_s_mean,
        quantile_disc(arrival_s, [0.5, 0.9]) AS arrivals
    FROM timed
    GROUP BY ALL
);

CREATE VIEW market_share AS
SELECT
    company,
    borough AS pickup_borough,
    pickup_date,
    sum(trips)::BIGINT AS trips,
    sum(trips) / sum(sum(trips)) OVER borough_day AS trip_share,
    sum(fare_revenue) AS fare_revenue,
    sum(fare_revenue) / nullif(sum(sum(fare_revenue)) OVER borough_day, 0) AS revenue_share,
    sum(driver_pay) AS driver_pay
FROM zone_days
JOIN zones USING (zone_id)
GROUP BY company, borough, pickup_date
WINDOW borough_day AS (PARTITION BY borough, pickup_date);

CREATE VIEW popular_zones AS
SELECT
    pickup_date,
    zone_id,
    trips,
    rank() OVER (PARTITION BY pickup_date ORDER BY trips DESC)::INTEGER AS rank,
    zone_name,
    borough
FROM (SELECT pickup_date, zone_id, sum(trips)::BIGINT AS trips FROM zone_days GROUP BY ALL)
JOIN zones USING (zone_id);

-- The month alone: without earlier months there is nothing to compare with.
CREATE VIEW rising_zones AS
SELECT
    zone_id,
    sum(trips)::BIGINT AS trips,
    sum(trips) / sum(sum(trips)) OVER () AS share,
    NULL::DOUBLE AS baseline_share,
    NULL::DOUBLE AS growth,
    NULL::DOUBLE AS z,
    NULL::INTEGER AS rank
FROM zone_days
GROUP BY zone_id;

CREATE VIEW eta_training AS
SELECT
    company,
    pickup_zone_id,
    dropoff_zone_id,
    request_datetime,
    hour(request_datetime)::INTEGER AS request_hour,
    isodow(request_datetime)::INTEGER AS request_weekday,
    trip_miles,
    wait_s,
    trip_time
FROM timed;

CREATE VIEW trend AS
SELECT
    company,
    trips,
    wait_s_mean,
    waits[1] AS wait_s_p50,
    waits[2] AS wait_s_p90,
    fare_revenue,
    driver_pay,
    trips / sum(trips) OVER () AS trip_share
FROM (
    SELECT company, sum(trips)::BIGINT AS trips, sum(fare_revenue) AS fare_revenue, sum(driver_pay) AS driver_pay
    FROM zone_days
    GROUP BY company
)
LEFT JOIN (
    SELECT company, avg(wait_s) AS wait_s_mean, quantile_disc(wait_s, [0.5, 0.9]) AS waits
    FROM timed
    GROUP BY company
) USING (company);
