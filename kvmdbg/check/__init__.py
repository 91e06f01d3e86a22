"""``kvmdbg check``: guests and what is expected of them, run in parallel."""
