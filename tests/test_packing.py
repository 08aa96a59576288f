"""Packed codes: the inverse of unpacking, as small as the schemes say, and nothing but codes accepted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilmpq.errors import InvariantError
from ilmpq.packing import CHUNK, pack, unpack
from ilmpq.schemes import BY_NAME, FIX4, FIX8, POT3, POT4, SCHEMES, codes_of, fields


def random_rows(rng, rows, columns):
    scheme = rng.integers(len(SCHEMES), size=rows).astype(np.uint8)
    codes = np.zeros((rows, columns), np.int8)
    for row, ident in enumerate(scheme):
        codes[row] = rng.choice(SCHEMES[ident].levels, columns) * rng.choice([-1, 1], columns)
    return codes, scheme


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.name)
def test_every_code_has_a_field_of_its_own(scheme):
    codes = np.array(sorted({sign * level for level in scheme.levels for sign in (1, -1)}), np.int8)
    packed = fields(codes, scheme)
    assert len(set(packed.tolist())) == len(codes) == 2**scheme.bits - 1
    assert packed.max() < 2**scheme.bits
    np.testing.assert_array_equal(codes_of(packed, scheme), codes)


@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(1, 30))
def test_unpacking_is_the_inverse_of_packing_and_no_bit_is_wasted(seed, rows, columns):
    codes, scheme = random_rows(np.random.default_rng(seed), rows, columns)
    packed = pack(codes, scheme)
    np.testing.assert_array_equal(unpack(packed, scheme, columns), codes)
    bits = [s.bits * columns * int((scheme == s.ident).sum()) for s in SCHEMES]
    assert packed.nbytes == sum(-(-b // 8) for b in bits)


def test_rows_longer_than_a_chunk_are_packed_alike():
    rng = np.random.default_rng(0)
    codes = rng.integers(-3, 4, (3, CHUNK // 2 + 5)).astype(np.int8)
    scheme = np.full(3, BY_NAME["fix3"].ident, np.uint8)
    whole = pack(codes, scheme)
    np.testing.assert_array_equal(unpack(whole, scheme, codes.shape[1]), codes)
    bits = np.unpackbits(fields(codes.ravel(), BY_NAME["fix3"])[:, None], axis=1, count=3, bitorder="little")
    np.testing.assert_array_equal(whole, np.packbits(bits, bitorder="little"))


def test_golden_bytes():
    codes = np.array([[64, -1, 0, 2, -8], [-4, 1, 0, 4, -1], [-7, 7, 1, 0, -1], [-127, 127, 5, 0, 9]], np.int8)
    scheme = np.array([POT4.ident, POT3.ident, FIX4.ident, FIX8.ident], np.uint8)
    assert pack(codes, scheme).tobytes().hex() == "97200c" + "79010f" + "817f050009" + "0f56"


@pytest.mark.parametrize("scheme", [POT4, POT3], ids=lambda s: s.name)
def test_the_negative_of_zero_is_refused(scheme):
    packed = np.array([1 << (scheme.bits - 1)], np.uint8)
    with pytest.raises(InvariantError, match="must not have the negative of zero"):
        unpack(packed, np.array([scheme.ident], np.uint8), 1)


def test_the_most_negative_code_is_refused():
    for scheme in (FIX4, FIX8):
        with pytest.raises(InvariantError, match=f"{scheme.name} code must be from"):
            unpack(np.array([1 << (scheme.bits - 1)], np.uint8), np.array([scheme.ident], np.uint8), 1)


@pytest.mark.parametrize("change", [lambda p: p[:-1], lambda p: np.append(p, np.uint8(0))], ids=["short", "long"])
def test_a_wrong_length_is_refused(change):
    codes, scheme = random_rows(np.random.default_rng(1), 5, 7)
    with pytest.raises(InvariantError, match="must be .* bytes, not"):
        unpack(change(pack(codes, scheme)), scheme, 7)


def test_an_unknown_scheme_is_refused():
    with pytest.raises(InvariantError, match="scheme must be one of"):
        unpack(np.zeros(1, np.uint8), np.array([99], np.uint8), 1)
