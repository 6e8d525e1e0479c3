"""What the DAGs share: settings, the dataset catalogue, EMR job flows, the lake, checks and reports."""
