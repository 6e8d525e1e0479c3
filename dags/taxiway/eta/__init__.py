"""The arrival model: trained in batch, gated, kept in a registry on S3; and the job that serves it as a stream."""
