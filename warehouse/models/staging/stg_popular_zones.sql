select pickup_date, zone_id, trips, year || '-' || month as month
from {{ source('hvfhv', 'popular_zones') }}
