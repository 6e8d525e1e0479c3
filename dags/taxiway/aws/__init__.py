"""The AWS features that pipelines use: EMR clusters and their steps, published Spark programs, prices and usage."""
