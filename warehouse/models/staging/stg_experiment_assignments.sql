select rider_id, experiment, variant, assigned_at
from {{ source('warehouse', 'experiment_assignments') }}
where deleted_at is null
