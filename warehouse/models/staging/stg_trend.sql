select
    company, trips, trip_share, fare_revenue, driver_pay, wait_s_mean, wait_s_p50, wait_s_p90,
    year || '-' || month as month
from {{ source('hvfhv', 'trend') }}
