"""What the project claims about speed, and the program that measures it: ``python -m benchmarks``."""
