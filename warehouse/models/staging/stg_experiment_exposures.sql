select exposure_id, rider_id, experiment, exposed_at
from {{ source('warehouse', 'experiment_exposures') }}
where deleted_at is null
