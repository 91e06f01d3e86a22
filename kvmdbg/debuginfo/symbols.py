"""The guest's names: looked up by name and by address."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator

from kvmdbg.errors import UsageError
from kvmdbg.machine.image import Symbol
from kvmdbg.masks import LOW64

UNSIZED_REACH = 0x10000  # how far a name without a size or a section is taken to reach, in bytes
LATER_FROM = 0xC0000000  # where kernels are linked, of 32 bits or of 64

_BINDINGS = {"global": 0, "weak": 1, "local": 2}
_KINDS = {"function": 0, "object": 1, "notype": 2, "absolute": 3}


def _rank(symbol: Symbol) -> tuple[int, int]:
    """Which of two symbols of one name or one address is meant: the smaller rank."""
    return _BINDINGS.get(symbol.binding, 2), _KINDS.get(symbol.kind, 2)


class SymbolTable:
    """Symbols of one or several files. Adding is cheap; the order by address is made at the first question."""

    def __init__(self, symbols: Iterable[Symbol] = (), later: Callable[[], Iterable[Symbol]] | None = None) -> None:
        self._later = later
        """Gives more of them, at LATER_FROM and above, and takes a while for it: called at the first question."""
        self._symbols: list[Symbol] = []
        self._by_name: dict[str, Symbol] = {}
        self._shared: set[str] = set()  # names of several addresses
        self._names: list[str] | None = None
        self._stale = False  # the three below are to be made anew
        self._placed: list[Symbol] = []  # one an address, by address
        self._addresses: list[int] = []
        self._enclosing: list[int] = []  # index of the sized symbol around each, -1 for none
        self.add(symbols)

    def _find_the_rest(self) -> None:
        if self._later is not None:
            later, self._later = self._later, None
            self.add(later())

    def __len__(self) -> int:
        self._find_the_rest()
        return len(self._symbols)

    def __iter__(self) -> Iterator[Symbol]:
        self._find_the_rest()
        return iter(self._symbols)

    def __contains__(self, name: object) -> bool:
        self._find_the_rest()
        return name in self._by_name

    def __getitem__(self, name: str) -> int:
        """The address of the symbol of that name; UsageError where there is none."""
        found = self.lookup(name)
        if found is None:
            import difflib

            near = difflib.get_close_matches(name, self._by_name, n=1)
            raise UsageError(f"there is no symbol {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return found.address

    def add(self, symbols: Iterable[Symbol], base: int = 0) -> None:
        """Know these too, ``base`` added to their addresses (numbers of kind "absolute" stay as they are)."""
        more = [_moved(symbol, base) for symbol in symbols] if base else list(symbols)
        self._symbols += more
        by_name = self._by_name
        for symbol in more:
            known = by_name.setdefault(symbol.name, symbol)
            if known is symbol:
                continue
            if known.address != symbol.address:
                self._shared.add(symbol.name)
            if _rank(symbol)[0] < _rank(known)[0]:
                by_name[symbol.name] = symbol
        self._stale, self._names = True, None

    def clear(self) -> None:
        """Forget all symbols."""
        self._later = None
        self._symbols.clear()
        self._by_name.clear()
        self._shared.clear()
        self._stale, self._names = True, None

    def lookup(self, name: str) -> Symbol | None:
        """The symbol of that name: a global one before a weak before a local one, then the first added."""
        if name not in self._by_name:
            self._find_the_rest()
        return self._by_name.get(name)

    def is_shared(self, name: str) -> bool:
        """Whether symbols at several addresses have that name."""
        return self.lookup(name) is not None and name in self._shared

    def all_named(self, name: str) -> list[Symbol]:
        """All symbols of that name, as static functions of several files have one; in C++ the source's name."""
        if self.lookup(name) is not None:
            return [one for one in self._symbols if one.name == name]
        from kvmdbg.debuginfo.demangled import is_called, last_part

        own = last_part(name)
        return [one for one in self._symbols if own in one.name and is_called(one.name, name)] if own else []

    def scoped(self, name: str) -> Symbol | None:
        """The same of a name that may have scopes before it: ``kern::Heap::alloc``, ``file.c::name``."""
        found = self.lookup(name)
        if found is None and "::" in name:
            found = next(iter(self.all_named(name)), None) or self.lookup(name.rpartition("::")[2])
        return found or next(iter(self.overloads(name)), None)

    def overloads(self, name: str) -> list[Symbol]:
        """The functions of C++ with exactly that name, of which there may be several with other types."""
        from kvmdbg.debuginfo.demangled import is_exactly, last_part

        own = last_part(name)
        return [one for one in self._symbols if own in one.name and is_exactly(one.name, name)] if own else []

    def complete(self, prefix: str) -> list[str]:
        """The names that start with ``prefix``, sorted."""
        self._find_the_rest()
        if self._names is None:
            self._names = sorted(self._by_name)
        names = self._names
        return names[bisect_left(names, prefix) : bisect_right(names, prefix, key=lambda name: name[: len(prefix)])]

    def nearest(self, address: int) -> tuple[Symbol, int] | None:
        """The symbol that ``address`` belongs to and the offset into it, or None.

        A symbol with a size holds exactly that many bytes, and its first address in any case. One without reaches to
        the next symbol, or to the end of its section, or 64 KiB. Behind the end of one inside another (a label in a
        function) the outer one is meant.
        """
        if address >= LATER_FROM:
            self._find_the_rest()
        self._sort()
        at = bisect_right(self._addresses, address) - 1
        while at >= 0:
            symbol = self._placed[at]
            if symbol.address == address or address < _end(symbol):
                return symbol, address - symbol.address
            at = self._enclosing[at]
        return None

    def format(self, address: int) -> str:
        """``name+0x10``, ``name`` at its first address, "" where no symbol is near."""
        found = self.nearest(address)
        if found is None:
            return ""
        symbol, offset = found
        from kvmdbg.debuginfo.demangled import demangled  # not before anybody asks for a name: it takes time

        name = demangled(symbol.name)
        return f"{name}+{offset:#x}" if offset else name

    def _sort(self) -> None:
        if not self._stale:
            return
        best: dict[int, Symbol] = {}
        for symbol in self._symbols:
            if symbol.kind == "absolute":
                continue
            known = best.setdefault(symbol.address, symbol)
            if known is not symbol and _preferred(symbol) < _preferred(known):
                best[symbol.address] = symbol
        self._addresses = sorted(best)
        self._placed = [best[address] for address in self._addresses]
        self._enclosing = []
        open_ones: list[tuple[int, int]] = []  # end and index of sized symbols that hold the address, innermost last
        for index, symbol in enumerate(self._placed):
            while open_ones and open_ones[-1][0] <= symbol.address:
                open_ones.pop()
            self._enclosing.append(open_ones[-1][1] if open_ones else -1)
            if symbol.size:
                open_ones.append((symbol.address + symbol.size, index))
        self._stale = False


def _moved(symbol: Symbol, base: int) -> Symbol:
    """Loaded ``base`` away from where it is linked, if it is a place."""
    if symbol.kind == "absolute":
        return symbol
    limit = symbol.limit + base if symbol.limit else 0
    return symbol._replace(address=(symbol.address + base) & LOW64, limit=limit)


def _preferred(symbol: Symbol) -> tuple[bool, tuple[int, int]]:
    return symbol.size == 0, _rank(symbol)


def _end(symbol: Symbol) -> int:
    """The first address that is no longer the symbol's."""
    if symbol.size:
        return symbol.address + symbol.size
    return symbol.limit or symbol.address + UNSIZED_REACH
