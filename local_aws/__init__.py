"""AWS on one machine: moto, plus an EMR that really runs the steps it is given."""
