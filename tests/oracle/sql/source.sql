-- The zone lookup, the companies, and the source's columns in one type each. A file that lacks a column has nulls there.
CREATE TABLE zones (zone_id INTEGER NOT NULL, borough VARCHAR NOT NULL, zone_name VARCHAR NOT NULL, service_zone VARCHAR NOT NULL);

CREATE TABLE companies AS
FROM (VALUES ('HV0002', 'juno'), ('HV0003', 'uber'), ('HV0004', 'via'), ('HV0005', 'lyft')) AS v (hvfhs_license_num, company);

CREATE TABLE source (
    month DATE NOT NULL, -- first day of the month that the file is for
    hvfhs_license_num VARCHAR,
    dispatching_base_num VARCHAR,
    originating_base_num VARCHAR,
    request_datetime TIMESTAMP,
    on_scene_datetime TIMESTAMP,
    pickup_datetime TIMESTAMP,
    dropoff_datetime TIMESTAMP,
    PULocationID INTEGER,
    DOLocationID INTEGER,
    trip_miles DOUBLE,
    trip_time BIGINT,
    base_passenger_fare DOUBLE,
    tolls DOUBLE,
    bcf DOUBLE,
    sales_tax DOUBLE,
    congestion_surcharge DOUBLE,
    airport_fee DOUBLE,
    cbd_congestion_fee DOUBLE,
    tips DOUBLE,
    driver_pay DOUBLE,
    shared_request_flag VARCHAR,
    shared_match_flag VARCHAR,
    access_a_ride_flag VARCHAR,
    wav_request_flag VARCHAR,
    wav_match_flag VARCHAR
);
