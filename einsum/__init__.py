"""The language: what is computed."""
