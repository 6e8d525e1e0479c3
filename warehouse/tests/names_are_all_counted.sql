select found.names, found.expected
from (
    select
        (select coalesce(sum(names), 0) from {{ ref('name_gender_summary') }}) as names,
        (select count(*) from {{ ref('stg_name_gender') }}) as expected
) as found
where found.names <> found.expected
