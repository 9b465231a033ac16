"""What people run, as cascades."""
