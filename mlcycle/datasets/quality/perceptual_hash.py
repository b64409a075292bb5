"""Near duplicates by a perceptual hash: images that were recompressed, resized or slightly changed.

The hash has 64 bits: whether each of the lowest frequencies of the discrete cosine transform of a 32 x 32 grey
thumbnail is above their median (known as pHash, after C. Zauner, "Implementation and benchmarking of perceptual image
hash functions", 2010). Two hashes that differ in at most d bits are equal in one of d + 1 bands, so only images that
share a band are compared. Candidate pairs are confirmed by the correlation of their thumbnails.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

BITS = 64
SIDE = 8
# Recompression and halving change 0 to 4 bits; different images differ in 32 ± 4.
DISTANCE = 8
# Least correlation of the thumbnails of a pair; recompressed and resized ones stay above 0.99.
MIN_CORRELATION = 0.96
# A thumbnail whose grey levels have a smaller standard deviation shows nothing to compare.
MIN_SPREAD = 4.0
CHUNK = 1 << 20


def hash_thumbnails(thumbnails_NSS: np.ndarray) -> np.ndarray:
    """Returns a uint64 for each grey thumbnail (N x S x S)."""
    if not len(thumbnails_NSS):
        return np.zeros(0, np.uint64)
    side = thumbnails_NSS.shape[-1]
    basis_KS = _cosines(side)
    low_NKK = basis_KS @ thumbnails_NSS.astype(np.float32) @ basis_KS.T
    low_NB = low_NKK.reshape(len(low_NKK), BITS)
    # The first coefficient is the brightness; its bit is always 0.
    low_NB[:, 0] = 0
    bits_NB = low_NB > np.median(low_NB[:, 1:], axis=1, keepdims=True)
    bits_NB[:, 0] = False
    return np.packbits(bits_NB, axis=1).view(">u8").astype(np.uint64).reshape(-1)


def near_duplicates(thumbnails_NSS: np.ndarray, distance: int = DISTANCE) -> np.ndarray:
    """Returns the pairs i < j of near duplicates (P x 2, sorted) among grey thumbnails (N x S x S).

    Args:
        thumbnails_NSS: uint8, upright.
        distance: the largest number of bits in which two hashes may differ.
    """
    if not len(thumbnails_NSS):
        return np.zeros((0, 2), np.int64)
    unit_NV, plain_N = _standardised(thumbnails_NSS)
    textured_M = np.flatnonzero(~plain_N)
    pairs_P2 = textured_M[near_pairs(hash_thumbnails(thumbnails_NSS[textured_M]), distance)]
    confirmed = [
        part[np.einsum("pv,pv->p", unit_NV[part[:, 0]], unit_NV[part[:, 1]]) >= MIN_CORRELATION]
        for part in np.array_split(pairs_P2, len(pairs_P2) // 4096 + 1)
    ]
    return np.concatenate(confirmed)


def near_pairs(hashes_N: np.ndarray, distance: int) -> np.ndarray:
    """Returns the pairs i < j (P x 2, sorted) of uint64 hashes that differ in at most `distance` bits."""
    parts = [part for band_N in _bands(hashes_N, distance + 1) for part in _pairs_in_band(hashes_N, band_N, distance)]
    if not parts:
        return np.zeros((0, 2), np.int64)
    return np.unique(np.concatenate(parts), axis=0)


def _cosines(side: int) -> np.ndarray:
    """Returns the lowest `SIDE` rows of the orthonormal DCT-II of `side` samples."""
    frequency_K1, place_1S = np.arange(SIDE)[:, None], np.arange(side)[None, :]
    basis_KS = np.cos(np.pi * frequency_K1 * (place_1S + 0.5) / side) * np.sqrt(2 / side)
    basis_KS[0] /= np.sqrt(2)
    return basis_KS.astype(np.float32)


def _standardised(thumbnails_NSS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values_NV = thumbnails_NSS.reshape(len(thumbnails_NSS), -1).astype(np.float32)
    values_NV = values_NV - values_NV.mean(axis=1, keepdims=True)
    length_N1 = np.linalg.norm(values_NV, axis=1, keepdims=True)
    plain_N = length_N1[:, 0] < MIN_SPREAD * np.sqrt(values_NV.shape[1])
    return values_NV / np.maximum(length_N1, 1e-6), plain_N


def _bands(hashes_N: np.ndarray, count: int) -> Iterator[np.ndarray]:
    edges = np.linspace(0, BITS, count + 1).astype(int)
    for low, high in pairwise(edges):
        yield (hashes_N >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)


def _pairs_in_band(hashes_N: np.ndarray, band_N: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    order_N = np.argsort(band_N, kind="stable")
    starts = np.flatnonzero(np.diff(band_N[order_N])) + 1
    for group in np.split(order_N, starts):
        if len(group) < 2:
            continue
        # A large group, such as images of one flat colour, is compared a few rows at a time.
        rows = max(1, CHUNK // len(group))
        for first in range(0, len(group), rows):
            part = group[first : first + rows]
            near = _count_bits(hashes_N[part][:, None] ^ hashes_N[group][None, :]) <= distance
            a, b = np.nonzero(near)
            pairs_P2 = np.stack([part[a], group[b]], axis=1)
            yield pairs_P2[pairs_P2[:, 0] < pairs_P2[:, 1]]


def _count_bits(values: np.ndarray) -> np.ndarray:
    """Returns the number of bits set in each uint64, by parallel sums: numpy 1 has no bitwise_count."""
    values = values - ((values >> np.uint64(1)) & np.uint64(0x5555555555555555))
    values = (values & np.uint64(0x3333333333333333)) + ((values >> np.uint64(2)) & np.uint64(0x3333333333333333))
    values = (values + (values >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return ((values * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)
