CREATE TABLE eta_training AS
SELECT
    month,
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
