"""Programs that are neither DAG nor Spark job."""
