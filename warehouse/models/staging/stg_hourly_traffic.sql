select hour, cast(hour as date) as day, requests, errors_4xx, errors_5xx, bytes
from {{ source('access_logs', 'hourly_traffic') }}
