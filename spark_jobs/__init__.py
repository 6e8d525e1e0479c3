"""The programs that Spark runs, published to S3 under the commit they come from."""
