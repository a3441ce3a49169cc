"""The one table that all measurements share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HEAD = ("measured", "figure", "ours", "peer", "peer's", "ours / peer's", "target")


@dataclass(frozen=True)
class Row:
    """
    One figure of ours, beside the same figure of a peer if there is one; both were taken in this run.

    :param measured: what was measured.
    :param figure: which figure of it, with its unit.
    :param ours: this package's.
    :param peer: the peer's; None if nobody does the like.
    :param peer_name: who that is.
    :param at_most: the largest ratio of ours to the peer's that is good enough; None if that is no target.
    :param ours_at_most: the largest figure of ours that is good enough, whatever the peer's.
    :param ours_at_least: the smallest figure of ours that is good enough, whatever the peer's.
    """

    measured: str
    figure: str
    ours: float
    peer: float | None = None
    peer_name: str = ""
    at_most: float | None = None
    ours_at_most: float | None = None
    ours_at_least: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times the peer's figure ours is; None if the peer's is 0, or there is none."""
        return self.ours / self.peer if self.peer else None

    @property
    def met(self) -> bool | None:
        """Whether the targets are met; None if there is none."""
        met = [met for _, met in self._targets()]
        return all(met) if met else None

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, one item per column."""
        return (
            self.measured,
            self.figure,
            _number(self.ours),
            self.peer_name,
            "" if self.peer is None else _number(self.peer),
            "" if self.ratio is None else f"{self.ratio:.2f}",
            ", ".join(f"{target}: {'met' if met else 'not met'}" for target, met in self._targets()),
        )

    def _targets(self) -> Iterator[tuple[str, bool]]:
        if self.at_most is not None and self.peer is not None:
            yield f"≤ {self.at_most:.2f}", self.ours <= self.at_most * self.peer
        if self.ours_at_most is not None:
            yield f"ours ≤ {_number(self.ours_at_most)}", self.ours <= self.ours_at_most
        if self.ours_at_least is not None:
            yield f"ours ≥ {_number(self.ours_at_least)}", self.ours >= self.ours_at_least


def render(rows: Iterable[Row]) -> str:
    """
    Return rows as a Markdown table that can be read as plain text as well.

    :param rows: the rows, in the order in which they are to be shown.
    """
    lines = [_HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}" if value < 10 else f"{value:.1f}"
