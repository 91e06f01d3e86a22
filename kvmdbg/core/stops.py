"""The stops that a session's methods return, for scripts."""

from kvmdbg.engine.stops import *  # noqa: F403
