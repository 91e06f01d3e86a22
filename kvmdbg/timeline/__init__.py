"""What happened to a guest, in order: the log of a run."""
