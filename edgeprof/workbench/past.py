"""What was before: values in their order, of which one is now. For undo and redo, back and forward."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Past(Generic[T]):
    """Values in their order; ``at`` is the position of the one that is now. The oldest go when there are more than ``most``.

    1. `put` drops what was gone back from. 2. The value that is now is not put again.
    """

    def __init__(self, values: Iterable[T], at: int | None = None, *, most: int = 200) -> None:
        self._values = list(values)
        self._most = most
        last = len(self._values) - 1
        self._at = last if at is None else min(max(at, 0), last)
        self._forget()

    @property
    def now(self) -> T:
        """The value that is now."""
        return self._values[self._at]

    @property
    def values(self) -> tuple[T, ...]:
        """All of them, the oldest first."""
        return tuple(self._values)

    @property
    def at(self) -> int:
        """Position of the value that is now."""
        return self._at

    @property
    def can_back(self) -> bool:
        """Whether there is one before."""
        return self._at > 0

    @property
    def can_forward(self) -> bool:
        """Whether there is one after."""
        return self._at < len(self._values) - 1

    def put(self, value: T) -> bool:
        """Makes ``value`` the one that is now; False when it is already."""
        if value == self.now:
            return False
        del self._values[self._at + 1 :]
        self._values.append(value)
        self._at += 1
        self._forget()
        return True

    def back(self) -> bool:
        """Goes to the one before; False when there is none."""
        moved = self.can_back
        self._at -= moved
        return moved

    def forward(self) -> bool:
        """Goes to the one after; False when there is none."""
        moved = self.can_forward
        self._at += moved
        return moved

    def _forget(self) -> None:
        gone = min(max(0, len(self._values) - self._most), self._at)
        del self._values[:gone]
        self._at -= gone
        del self._values[self._most :]
