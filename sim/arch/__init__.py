"""Components, devices, clusters and prices, as data."""
