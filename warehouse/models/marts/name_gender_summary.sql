select
    gender, count(*) as names,
    {{ ratio('count(*)', 'sum(count(*)) over ()') }} as share
from {{ ref('stg_name_gender') }}
group by gender
