select
    company, pickup_zone_id as zone_id, request_hour, trips as timed_trips, wait_s_mean, late_trips,
    year || '-' || month as month
from {{ source('hvfhv', 'service_quality') }}
