"""What the pipelines use of AWS: EMR clusters and their steps, published Spark programs, prices and usage."""
