-- Variables: month (DATE), file, lookup. Settings: duckdb_month.py. The synthetic month has the columns of 2023.

CREATE TABLE zones AS
SELECT LocationID::INTEGER AS zone_id, Borough AS borough, Zone AS zone_name
FROM read_csv(getvariable('lookup'), nullstr = '');

CREATE VIEW judged AS
SELECT
    *,
    CASE
        WHEN hvfhs_license_num IS NULL OR request_datetime IS NULL OR pickup_datetime IS NULL
            OR dropoff_datetime IS NULL OR pickup_zone_id IS NULL OR dropoff_zone_id IS NULL THEN 'missing_key'
        WHEN hvfhs_license_num NOT IN ('HV0002', 'HV0003', 'HV0004', 'HV0005') THEN 'unknown_company'
        WHEN NOT (pickup_datetime >= getvariable('month') AND pickup_datetime < getvariable('month') + INTERVAL 1 MONTH)
            THEN 'outside_month'
        -- The lookup numbers its zones from 1 to 265 without a gap.
        WHEN pickup_zone_id NOT BETWEEN 1 AND 265 OR dropoff_zone_id NOT BETWEEN 1 AND 265 THEN 'unknown_zone'
        WHEN trip_miles < 0 OR trip_miles > 500 THEN 'impossible_distance'
        WHEN dropoff_datetime <= pickup_datetime AND NOT coalesce(
            month(pickup_datetime) = 11 AND dayofweek(pickup_datetime) = 0 AND day(pickup_datetime) <= 7
            AND hour(pickup_datetime) = 1
            AND date_trunc('hour', dropoff_datetime) = date_trunc('hour', pickup_datetime)
            AND abs((epoch_us(dropoff_datetime) - epoch_us(pickup_datetime)) / 1e6 + 3600 - trip_time) <= 60,
            false
        ) THEN 'dropoff_not_after_pickup'
    END AS reject_reason
FROM (
    SELECT
        hvfhs_license_num,
        dispatching_base_num,
        originating_base_num,
        request_datetime,
        on_scene_datetime,
        pickup_datetime,
        dropoff_datetime,
        PULocationID::INTEGER AS pickup_zone_id,
        DOLocationID::INTEGER AS dropoff_zone_id,
        trip_miles,
        trip_time,
        base_passenger_fare,
        tolls,
        bcf,
        sales_tax,
        congestion_surcharge,
        airport_fee,
        NULL::DOUBLE AS cbd_congestion_fee,
        tips,
        driver_pay,
        shared_request_flag,
        shared_match_flag,
        access_a_ride_flag,
        wav_request_flag,
        wav_match_flag,
        file_row_number
    FROM read_parquet(getvariable('file'), file_row_number = true)
);

-- Equal rows have equal times; the few rows that share theirs with another are then compared in all columns.
CREATE TABLE repeated AS
SELECT hash(request_datetime, pickup_datetime, dropoff_datetime) AS times
FROM judged
GROUP BY ALL
HAVING count(*) > 1;

CREATE TABLE suspects AS
FROM judged
WHERE reject_reason IS NOT NULL
    OR hash(request_datetime, pickup_datetime, dropoff_datetime) IN (SELECT times FROM repeated);

CREATE TABLE rejected AS
WITH kept AS (
    SELECT * EXCLUDE (file_row_number), min(file_row_number) AS file_row_number
    FROM suspects
    WHERE reject_reason IS NULL
    GROUP BY ALL
)
SELECT * REPLACE (coalesce(reject_reason, 'duplicate') AS reject_reason)
FROM suspects
WHERE file_row_number NOT IN (SELECT file_row_number FROM kept);

CREATE VIEW quarantine AS SELECT * EXCLUDE (file_row_number) FROM rejected;

CREATE VIEW curated AS
SELECT
    CASE hvfhs_license_num
        WHEN 'HV0003' THEN 'uber' WHEN 'HV0005' THEN 'lyft' WHEN 'HV0004' THEN 'via' WHEN 'HV0002' THEN 'juno'
    END AS company,
    judged.* EXCLUDE (file_row_number, reject_reason),
    floor((epoch_us(pickup_datetime) - epoch_us(request_datetime)) / 1e6)::INTEGER AS wait_s,
    floor((epoch_us(on_scene_datetime) - epoch_us(request_datetime)) / 1e6)::INTEGER AS arrival_s
FROM judged
WHERE file_row_number NOT IN (SELECT file_row_number FROM rejected);
