"""Pages that show results to people in a browser."""
