-- One month of HVFHV trips of any size, drawn from real trips; the same rows on every run.
-- Variables: month (DATE), trips (how many), sample, lookup, hour_of_week, companies, boroughs (files).

-- A number below `choices`, fixed by the trip's number, what it is drawn for, and the month.
CREATE MACRO draw(id, purpose, choices) AS (hash(id, purpose, getvariable('month')) % choices)::BIGINT;

-- Hours of the month in order, each with its trips: `first` is the number of its first one.
CREATE TABLE hours AS
WITH
weighted AS (
    SELECT hour, sum(p.trips) OVER (ORDER BY hour) / sum(p.trips) OVER () AS share_until
    FROM generate_series(
        getvariable('month')::TIMESTAMP, getvariable('month') + INTERVAL 1 MONTH - INTERVAL 1 HOUR, INTERVAL 1 HOUR
    ) AS h (hour)
    JOIN read_csv(getvariable('hour_of_week')) AS p
        ON p.day_num = isodow(hour) - 1 AND p.pickup_hour = hour(hour)
),
numbered AS (SELECT hour, round(share_until * getvariable('trips'))::BIGINT AS next_first FROM weighted)
SELECT hour, coalesce(lag(next_first) OVER (ORDER BY hour), 0) AS first, next_first - first AS trips
FROM numbered
ORDER BY hour;

-- The real trips in a fixed order, Uber's first, with what is kept of their times: distances in seconds.
CREATE TABLE real_trips AS
SELECT
    row_number() OVER (ORDER BY hvfhs_license_num, filename, file_row_number) - 1 AS number,
    * EXCLUDE (filename, file_row_number),
    date_diff('second', request_datetime, pickup_datetime) AS request_to_pickup,
    date_diff('second', on_scene_datetime, pickup_datetime) AS on_scene_to_pickup,
    date_diff('second', pickup_datetime, dropoff_datetime) - trip_time AS unexplained
FROM read_parquet(getvariable('sample'), filename := true, file_row_number := true);

SET VARIABLE uber_trips = (SELECT count(*) FROM real_trips WHERE hvfhs_license_num = 'HV0003');
SET VARIABLE lyft_trips = (SELECT count(*) FROM real_trips WHERE hvfhs_license_num = 'HV0005');
SET VARIABLE uber_permille = (
    SELECT round(1000 * sum(trips) FILTER (WHERE company_name = 'Uber') / sum(trips))
    FROM read_csv(getvariable('companies'))
    WHERE year = 2025
);

-- The real trips were sampled inside three boroughs. An end of a trip in any other place gets a zone of that place;
-- numbered in proportion to the pairs of places seen in a sample of the whole city.
CREATE TABLE places AS
WITH
zones AS (
    SELECT Borough AS borough, list(LocationID ORDER BY LocationID) AS zones
    FROM read_csv(getvariable('lookup'), nullstr = '')
    WHERE Borough NOT IN ('Manhattan', 'Brooklyn', 'Queens')
    GROUP BY ALL
),
pairs AS (
    SELECT p.zones AS pickup_zones, d.zones AS dropoff_zones, unnest(range(b.trips))
    FROM read_csv(getvariable('boroughs'), nullstr = '') AS b
    LEFT JOIN zones AS p ON p.borough = b.pickup_borough
    LEFT JOIN zones AS d ON d.borough = b.dropoff_borough
)
SELECT row_number() OVER (ORDER BY pickup_zones, dropoff_zones) - 1 AS number, pickup_zones, dropoff_zones FROM pairs;

SET VARIABLE places = (SELECT count(*) FROM places);

-- A trip in 100,003 is the one before it once more.
CREATE TABLE drawn AS
WITH numbered AS (SELECT hour, first, unnest(range(trips)) AS place_in_hour FROM hours),
ids AS (
    SELECT
        hour,
        first + place_in_hour - (place_in_hour > 0 AND (first + place_in_hour) % 100003 = 7)::BIGINT AS id
    FROM numbered
)
SELECT
    id,
    -- One in 100,003 for each other reason to reject a trip, so that every rule has work to do.
    id % 100003 AS fault,
    CASE
        WHEN draw(id, 'company', 1000) < getvariable('uber_permille') THEN draw(id, 'trip', getvariable('uber_trips'))
        ELSE getvariable('uber_trips') + draw(id, 'trip', getvariable('lyft_trips'))
    END AS real_trip,
    draw(id, 'place', getvariable('places')) AS place,
    0.95 + draw(id, 'scale', 1001) / 10000 AS scale,
    hour + to_seconds(draw(id, 'second', 3600)) AS pickup,
    draw(id, 'wait', 41) - 20 AS longer_wait
FROM ids;

-- TLC's columns, order and types. Inside an hour the trips are in no order, as in TLC's files.
CREATE VIEW synthetic AS
SELECT
    CASE WHEN fault = 100 THEN 'HV9999' ELSE hvfhs_license_num END AS hvfhs_license_num,
    dispatching_base_num,
    originating_base_num,
    pickup - to_seconds(request_to_pickup + longer_wait) AS request_datetime,
    pickup - to_seconds(on_scene_to_pickup) AS on_scene_datetime,
    CASE WHEN fault = 200 THEN pickup - INTERVAL 40 DAY ELSE pickup END AS pickup_datetime,
    CASE
        WHEN fault = 300 THEN pickup - INTERVAL 1 MINUTE
        ELSE pickup + to_seconds(round(trip_time * scale)::BIGINT + unexplained)
    END AS dropoff_datetime,
    CASE
        WHEN fault = 400 THEN NULL
        WHEN fault = 500 THEN 999
        ELSE coalesce(pickup_zones[1 + draw(id, 'pickup zone', len(pickup_zones))], PULocationID)
    END::BIGINT AS PULocationID,
    coalesce(dropoff_zones[1 + draw(id, 'drop-off zone', len(dropoff_zones))], DOLocationID)::BIGINT AS DOLocationID,
    CASE WHEN fault = 600 THEN 600 ELSE round(trip_miles * scale, 2) END AS trip_miles,
    round(trip_time * scale)::BIGINT AS trip_time,
    round(base_passenger_fare * scale, 2) AS base_passenger_fare,
    tolls,
    bcf,
    sales_tax,
    congestion_surcharge,
    airport_fee,
    tips,
    round(driver_pay * scale, 2) AS driver_pay,
    shared_request_flag,
    shared_match_flag,
    access_a_ride_flag,
    wav_request_flag,
    wav_match_flag
FROM drawn
JOIN real_trips ON real_trips.number = drawn.real_trip
JOIN places ON places.number = drawn.place;
