"""Independent random streams, derived from one seed and identified by name.

``seed_for(seed, "init", "layer1.0.conv1.weight")`` depends only on its arguments. Adding a memory layer does not change
the initial values of other layers, and the number of workers does not change any augmentation draw. The idea of naming
every random stream comes from DomainBed (`seed_hash`, Gulrajani and Lopez-Paz, 2021).
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def seed_for(seed: int, *names: str | int) -> int:
    """Return the seed of the stream called `names` in a run with the seed `seed`; the result is in [0, 2**63).

    Raises
    ------
    TypeError: a name is neither a string nor an integer; the string form of other types might not be stable.
    """
    return int.from_bytes(hashlib.blake2b(_text(seed, *names).encode(), digest_size=8).digest(), "big") >> 1


def seeds_for(seed: int, *names: str | int, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return ``seed_for(seed, *names, number)`` for each of `numbers`, about three times as fast as separate calls.

    The part of the name that the streams have in common is hashed only once.
    """
    common = hashlib.blake2b(f"{_text(seed, *names)}\x1fi".encode(), digest_size=8)
    digests = []
    for number in numbers.tolist():
        of_number = common.copy()
        of_number.update(b"%d" % number)
        digests.append(of_number.digest())
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64) >> np.uint64(1)


def _text(*names: str | int) -> str:
    for part in names:
        if isinstance(part, bool) or not isinstance(part, (str, int, np.integer)):
            raise TypeError(f"a stream's name consists of strings and integers, not {type(part).__name__}: {part!r}")
        if isinstance(part, str) and "\x1f" in part:
            raise ValueError(f"a stream's name must not contain the separator \\x1f: {part!r}")
    return "\x1f".join(f"{'s' if isinstance(part, str) else 'i'}{part}" for part in names)


def uniforms(seeds: npt.NDArray[np.uint64], draws: int) -> npt.NDArray[np.float64]:
    """Return `draws` uniform numbers in [0, 1) for each seed: shape (len(seeds), draws).

    The generator is counter-based (SplitMix64; Steele, Lea and Flood, 2014), so each row depends only on its own seed,
    and the entire batch is computed in one vectorized call.
    """
    with np.errstate(over="ignore"):
        counter = np.arange(1, draws + 1, dtype=np.uint64)
        z = seeds.astype(np.uint64)[:, None] + counter[None, :] * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
        z ^= z >> np.uint64(31)
    draws_NK: npt.NDArray[np.float64] = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return draws_NK
