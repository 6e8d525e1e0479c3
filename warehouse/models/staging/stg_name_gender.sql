select name, gender from {{ source('warehouse', 'name_gender') }}
