"""The arrival model: how long a rider waits from the request to the pick-up, learnt in batch, served as a stream."""
