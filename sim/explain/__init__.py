"""Why a figure is what it is: the model run once more on numbers that remember where they come from."""
