"""What a target raises when it cannot do what the client asks."""

from __future__ import annotations


class TargetError(Exception):
    """One sentence for the person at the client, and the number of an ``E NN`` reply (1 to 255; errno values fit)."""

    def __init__(self, message: str, number: int = 1) -> None:
        super().__init__(message)
        self.number = number if 0 < number < 256 else 1


class BadPacket(TargetError):
    """The client's packet does not have the form that it must have."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 22)  # EINVAL
