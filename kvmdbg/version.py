"""The version of kvmdbg, read by the command line and the package's metadata."""

VERSION = "0.1.0"
