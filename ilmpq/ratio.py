"""The ratio of number schemes: how many rows of a layer get which scheme.

>>> ratio = Ratio.parse("60:35:5")
>>> [f"{s.name} {n}" for s, n in ratio.counts(16)]
['pot4 10', 'fix4 5', 'fix8 1']
>>> str(Ratio.parse("pot3:70,fix4:25,fix8:5"))
'pot3:70,fix4:25,fix8:5'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from .errors import UsageError
from .schemes import FIX4, FIX8, POT4, Scheme, scheme_named

CLASSIC = (POT4, FIX4, FIX8)
DECIMALS = 12


def _percent(text: str) -> Fraction:
    """A plain decimal number, exactly."""
    if not re.fullmatch(rf"\s*\d{{1,3}}(\.\d{{0,{DECIMALS}}})?\s*", text):
        raise ValueError(text)
    return Fraction(text)


@dataclass(frozen=True)
class Ratio:
    """Schemes with their share of the rows in percent; the shares add up to 100."""

    shares: tuple[tuple[Scheme, Fraction], ...]

    @staticmethod
    def parse(text: str) -> Ratio:
        """Read `60:35:5` (PoT4:Fixed4:Fixed8) or `pot3:70,fix4:25,fix8:5`; decimals are allowed."""
        parts = text.split(",") if "," in text or text.strip()[:1].isalpha() else None
        try:
            if parts is None:
                numbers = text.split(":")
                if len(numbers) != len(CLASSIC):
                    raise UsageError(
                        f"ratio must have three numbers (PoT4:Fixed4:Fixed8), not {text!r}; or name the schemes"
                    )
                shares = tuple(zip(CLASSIC, map(_percent, numbers), strict=True))
            else:
                pairs = [part.split(":") for part in parts]
                shares = tuple((scheme_named(name), _percent(number)) for name, number in pairs)
        except ValueError:
            raise UsageError(f"ratio must be like 60:35:5 or pot3:70,fix4:25,fix8:5, not {text!r}") from None
        return Ratio(shares).verified(text)

    @staticmethod
    def of_rows(rows: Mapping[Scheme, int]) -> Ratio:
        """The ratio of so many rows of each scheme; what twelve decimals cannot hold goes to the first.

        >>> str(Ratio.of_rows({scheme_named("pot3"): 34, FIX4: 8, FIX8: 2}))
        'pot3:77.272727272728,fix4:18.181818181818,fix8:4.545454545454'
        """
        total = sum(rows.values())
        unit = 10**DECIMALS
        shares = {scheme: Fraction(100 * n * unit // total, unit) for scheme, n in rows.items()}
        first = next(iter(shares))
        shares[first] += 100 - sum(shares.values())
        return Ratio(tuple(shares.items()))

    def verified(self, text: str) -> Ratio:
        """Check the shares; `text` is what the user wrote."""
        names = [scheme.name for scheme, _ in self.shares]
        if len(set(names)) < len(names):
            raise UsageError(f"ratio must name each scheme once, not as in {text!r}")
        total = sum(share for _, share in self.shares)
        if total != 100:
            raise UsageError(f"ratio must add up to 100 percent, but {text!r} adds up to {float(total):g}")
        return self

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """The schemes with a share, in order."""
        return tuple(scheme for scheme, share in self.shares if share)

    def counts(self, rows: int) -> tuple[tuple[Scheme, int], ...]:
        """Rows of each scheme in a layer: largest remainder, ties to the earlier scheme."""
        exact = [(scheme, share * rows / 100) for scheme, share in self.shares if share]
        whole = [int(x) for _, x in exact]
        by_remainder = sorted(range(len(exact)), key=lambda i: whole[i] - exact[i][1])  # stable: ties keep order
        for i in by_remainder[: rows - sum(whole)]:
            whole[i] += 1
        return tuple((scheme, n) for (scheme, _), n in zip(exact, whole, strict=True))

    def __str__(self) -> str:
        def number(x: Fraction) -> str:
            whole, decimals = divmod(int(x * 10**DECIMALS), 10**DECIMALS)
            return f"{whole}.{decimals:0{DECIMALS}}".rstrip("0").rstrip(".")

        if tuple(s for s, _ in self.shares) == CLASSIC:
            return ":".join(number(x) for _, x in self.shares)
        return ",".join(f"{s.name}:{number(x)}" for s, x in self.shares)
