"""The front door: on what, how fast, how much energy, at what price."""
