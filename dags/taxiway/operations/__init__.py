"""What keeps pipelines running: metrics, deadlines, notices, the delivery of code, the cost guard."""
