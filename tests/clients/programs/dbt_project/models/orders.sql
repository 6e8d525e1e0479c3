{{ config(materialized='table', ha=true, s3_data_naming='table_unique', format='parquet') }}
select id, name, amount, day, cast(current_timestamp as timestamp(3)) as loaded from {{ source('raw', 'orders') }}
