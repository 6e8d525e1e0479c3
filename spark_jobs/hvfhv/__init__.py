"""High Volume For-Hire Vehicle trips (Uber, Lyft; until 2021 Juno and Via), as New York's TLC publishes them."""
