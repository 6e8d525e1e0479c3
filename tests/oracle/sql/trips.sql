-- Every source row gets the first reason that applies, or none; those with none are the curated trips.
CREATE TABLE judged AS
WITH
renamed AS (SELECT * RENAME (PULocationID AS pickup_zone_id, DOLocationID AS dropoff_zone_id) FROM source),

-- Daylight saving ends at 2 a.m. of November's first Sunday: the clock shows 01:00 to 01:59 twice.
in_repeated_hour AS (
    SELECT
        *,
        month(pickup_datetime) = 11 AND isodow(pickup_datetime) = 7 AND day(pickup_datetime) <= 7
        AND hour(pickup_datetime) = 1
        AND date_trunc('hour', dropoff_datetime) = date_trunc('hour', pickup_datetime)
        AND abs((epoch_us(dropoff_datetime) - epoch_us(pickup_datetime)) / 1e6 + 3600 - trip_time) <= 60
            AS spans_clock_change
    FROM renamed
),

checked AS (
    SELECT
        * EXCLUDE (spans_clock_change),
        CASE
            WHEN hvfhs_license_num IS NULL OR request_datetime IS NULL OR pickup_datetime IS NULL
                OR dropoff_datetime IS NULL OR pickup_zone_id IS NULL OR dropoff_zone_id IS NULL
                THEN 'missing_key'
            WHEN hvfhs_license_num NOT IN (SELECT c.hvfhs_license_num FROM companies AS c) THEN 'unknown_company'
            WHEN date_trunc('month', pickup_datetime) <> month THEN 'outside_month'
            WHEN pickup_zone_id NOT IN (SELECT zone_id FROM zones) OR dropoff_zone_id NOT IN (SELECT zone_id FROM zones)
                THEN 'unknown_zone'
            WHEN trip_miles < 0 OR trip_miles > 500 THEN 'impossible_distance'
            WHEN dropoff_datetime <= pickup_datetime AND spans_clock_change IS NOT TRUE THEN 'dropoff_not_after_pickup'
        END AS reason
    FROM in_repeated_hour
)

-- Partitioning by the whole row puts rows together whose columns are all equal, nulls too.
SELECT
    * EXCLUDE (reason) REPLACE (CASE WHEN isfinite(trip_miles) THEN trip_miles END AS trip_miles),
    CASE
        WHEN reason IS NULL AND row_number() OVER (PARTITION BY checked) > 1 THEN 'duplicate'
        ELSE reason
    END AS reject_reason
FROM checked;

CREATE TABLE quarantine AS SELECT * FROM judged WHERE reject_reason IS NOT NULL;

CREATE TABLE curated AS
SELECT
    month,
    company,
    j.* EXCLUDE (month, reject_reason),
    floor((epoch_us(pickup_datetime) - epoch_us(request_datetime)) / 1e6)::INTEGER AS wait_s,
    floor((epoch_us(on_scene_datetime) - epoch_us(request_datetime)) / 1e6)::INTEGER AS arrival_s
FROM judged AS j
JOIN companies USING (hvfhs_license_num)
WHERE reject_reason IS NULL;

CREATE TABLE timed AS SELECT * FROM curated WHERE wait_s BETWEEN 0 AND 3600;
