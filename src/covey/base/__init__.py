"""The ground floor: what every program needs and no cluster knows."""
