"""The one performance model: counts to time, energy and money."""
