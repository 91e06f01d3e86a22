"""Running the guest several times from where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from kvmdbg.core.snapshots import Snapshots
    from kvmdbg.engine import stops


class Runs(Protocol):
    """What runs a guest that has snapshots."""

    @property
    def run(self) -> Callable[..., stops.Stop]: ...

    @property
    def snapshots(self) -> Snapshots: ...


S = TypeVar("S", bound=Runs)
V = TypeVar("V")


class Variants(Generic[S]):
    """Of a session's guest."""

    def __init__(self, session: S) -> None:
        self._session = session

    def fork(
        self, variants: Iterable[V], prepare: Callable[[S, V], object] | None = None, **limits: float | None
    ) -> Iterator[tuple[V, stops.Stop]]:
        """Run the guest from here once for each variant; gives each with the stop that it came to.

        ``prepare(session, variant)`` makes the difference before each, e.g. writes an input to memory; ``limits`` are
        those of ``run``. Between two of them, and at the end, the guest is put back to where it stood.
        """

        def run(variant: V) -> stops.Stop:
            if prepare is not None:
                prepare(self._session, variant)
            return self._session.run(**limits)

        return self._session.snapshots.runs_from_here(variants, run)
