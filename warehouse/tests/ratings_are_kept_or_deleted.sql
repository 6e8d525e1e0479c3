-- Source rows = rows that are used + rows that the service has deleted.
select found.rows_in, found.rows_used, found.rows_deleted
from (
    select
        (select count(*) from {{ source('warehouse', 'ride_ratings') }}) as rows_in,
        (select count(*) from {{ ref('stg_ride_ratings') }}) as rows_used,
        (select count(*) from {{ source('warehouse', 'ride_ratings') }} where deleted_at is not null) as rows_deleted
) as found
where found.rows_in <> found.rows_used + found.rows_deleted
