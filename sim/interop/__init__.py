"""Other people's files and tools: what is read of theirs, and what of ours is described for theirs."""
