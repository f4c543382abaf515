"""Sparse histograms of roof heights: integer counts of centimetres, whose sums no order can change.

Only counting and percentiles belong here; what is counted is found in `citymesh_dask.geometry.terrain.roofs`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

BINS_PER_METRE = 100
"""Histograms of roof heights have bins of 1 cm, centred on whole centimetres."""
_BIN_SHIFT = 2**31


@dataclass(frozen=True)
class Histogram:
    """Sparse histograms of height, one per building row, ascending (row, bin).

    Parameters
    ----------
    rows : (n,) int64
        Row of the building table.
    bins : (n,) int32
        Height, centimetres.
    counts : (n,) int64
        Number of points or cells in the bin, positive.
    """

    rows: Int64
    bins: Int32
    counts: Int64

    def __len__(self) -> int:
        return len(self.rows)


def height_bins(millimetres: Int64) -> Int32:
    """Return the bins of heights, halves rounded up.

    >>> height_bins(np.array([12344, 12345, -6, -5])).tolist()
    [1234, 1235, -1, 0]
    """
    bins: Int32 = ((millimetres + 5) // 10).astype(np.int32)
    return bins


def histogram_of(rows: Int64, bins: Int32, counts: Int64 | None = None) -> Histogram:
    """Return the histogram of single samples, or of counted ones, in any order.

    Parameters
    ----------
    rows : (n,) int64
        Row of the building table, below 2**31.
    bins : (n,) int32
        Bin of each sample.
    counts : (n,) int64, optional
        How often each counts; once if not given.
    """
    keys = (rows << 32) | (bins.astype(np.int64) + _BIN_SHIFT)
    if counts is None:
        keys.sort()
        sorted_counts = np.ones(len(keys), np.int64)
    else:
        order = np.argsort(keys, kind="stable")
        keys, sorted_counts = keys[order], counts[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, np.int64)
    summed = np.add.reduceat(sorted_counts, first) if len(first) else np.empty(0, np.int64)
    kept = keys[first]
    return Histogram(kept >> 32, ((kept & 0xFFFFFFFF) - _BIN_SHIFT).astype(np.int32), summed)


def merge_histograms(several: list[Histogram]) -> Histogram:
    """Return the sum of histograms."""
    rows = np.concatenate([np.empty(0, np.int64), *(item.rows for item in several)])
    bins = np.concatenate([np.empty(0, np.int32), *(item.bins for item in several)])
    counts = np.concatenate([np.empty(0, np.int64), *(item.counts for item in several)])
    return histogram_of(rows, bins, counts)


def percentiles(histogram: Histogram, fraction: float) -> tuple[Int64, Int64, Int32]:
    """Return a percentile of every row that has samples, by nearest rank.

    The nearest-rank percentile is the smallest height that at least ``fraction`` of the samples do
    not exceed (Hyndman and Fan, "Sample quantiles in statistical packages", 1996, definition 1):
    always a height that was measured, to the centimetre.

    Parameters
    ----------
    histogram : Histogram
        Samples.
    fraction : float
        From 0 (lowest sample) to 1 (highest sample).

    Returns
    -------
    rows : (k,) int64
        Rows with samples, ascending.
    totals : (k,) int64
        Number of samples of each.
    bins : (k,) int32
        The percentile, centimetres.

    Examples
    --------
    >>> one = histogram_of(np.zeros(10, np.int64), np.arange(100, 110, dtype=np.int32))
    >>> percentiles(one, 0.9)[2].tolist()
    [108]
    """
    if not len(histogram):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32)
    first = np.flatnonzero(np.concatenate([[True], histogram.rows[1:] != histogram.rows[:-1]]))
    running = np.cumsum(histogram.counts)
    before = running[first] - histogram.counts[first]
    totals = np.add.reduceat(histogram.counts, first)
    # The small subtraction keeps 0.7 * 10 = 7.000000000000001 at rank 7.
    ranks = np.maximum(np.ceil(fraction * totals - 1e-9).astype(np.int64), 1)
    return histogram.rows[first], totals, histogram.bins[np.searchsorted(running, before + ranks)]
