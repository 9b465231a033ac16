"""How a cascade is laid out in time, space and storage."""
