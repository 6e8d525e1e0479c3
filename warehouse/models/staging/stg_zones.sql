select zone_id, zone_name, borough from {{ source('warehouse', 'taxi_zones') }}
