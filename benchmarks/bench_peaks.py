"""Peaks of this machine, measured twice one after the other: each ceiling, and the ratio of the two."""

from __future__ import annotations

import argparse
import tempfile
import time

from common import machine

from edgeprof.peaks import board_peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--board", default="local")
    args = parser.parse_args()
    print(machine())
    found, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            start = time.perf_counter()
            found.append(board_peaks(args.board, threads=args.threads, again=True, folder=folder, progress=False))
            seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        board_peaks(args.board, threads=args.threads, folder=folder, progress=False)
        seconds.append(time.perf_counter() - start)
    first, second = ({one.label: one for one in peaks.ceilings} for peaks in found)
    for label in [label for label in first if label in second]:
        one, two = first[label], second[label]
        measured = f"{one.value:.4g} {one.unit} [{one.low:.4g}, {one.high:.4g}] by {one.reached_by}"
        print(f"peaks, {label}: {measured}; again {two.value:.4g}: ratio {two.value / one.value:.3f}")
    for note in dict.fromkeys(note for peaks in found for note in peaks.notes):
        print(f"peaks, note: {note}")
    print(f"peaks, time: {seconds[0]:.1f} s (with imports), again {seconds[1]:.1f} s, kept {seconds[2]:.1f} s")


if __name__ == "__main__":
    main()
