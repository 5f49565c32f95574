"""Wilson's interval for a share of independent trials."""

from __future__ import annotations

import numpy as np

from shelfqa.records import Interval

CONFIDENCE = 0.95


def wilson_interval(successes: float, trials: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Return the share successes / trials with Wilson's score interval, inside [0, 1].

    Formula: (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n), z the normal quantile of `confidence`. Source:
    Wilson 1927; Brown, Cai and DasGupta 2001 recommend it for small n. It treats trials as independent: where rows
    come in clusters use `mean_interval`.

    >>> [round(part, 4) for part in wilson_interval(20, 20)]
    [1.0, 0.8389, 1.0]

    Args:
        successes: from 0 to `trials`; need not be whole.
        trials: how many; of none, three NaN.
        confidence: in (0, 1).

    Raises:
        ValueError: if `successes` is not between 0 and `trials`.

    """
    from scipy.special import ndtri

    if trials == 0:
        return Interval(np.nan, np.nan, np.nan)
    if not 0 <= successes <= trials * (1 + 1e-12):
        raise ValueError(f"successes {successes!r}: expected 0 to {trials}")
    share = min(successes / trials, 1.0)
    z_squared = float(ndtri(0.5 + confidence / 2)) ** 2
    shrink = 1 + z_squared / trials
    centre = (share + z_squared / (2 * trials)) / shrink
    spread = float(np.sqrt(z_squared * (share * (1 - share) / trials + z_squared / (4 * trials**2)))) / shrink
    return Interval(share, min(max(centre - spread, 0.0), share), max(min(centre + spread, 1.0), share))
