"""Which row gets which scheme, in exactly the numbers the ratio prescribes.

Every rule takes the errors of a layer's rows under each scheme (rows × schemes) and the counts, and returns for each
row the index of its scheme.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array

Costs = NDArray[np.floating]
Choice = NDArray[np.intp]


def exact(cost: Costs, counts: Sequence[int]) -> Choice:
    """The assignment with the least total cost: a transportation problem, whose linear program has whole solutions.

    >>> exact(np.array([[1.0, 0.0], [9.0, 0.0], [2.0, 0.0]]), [2, 1])
    array([0, 1, 0])
    """
    rows, schemes = cost.shape
    variable = np.arange(rows * schemes)
    of_row, of_scheme = np.divmod(variable, schemes)
    ones = np.ones(rows * schemes)
    constraints = coo_array(
        (np.concatenate([ones, ones]), (np.concatenate([of_row, rows + of_scheme]), np.concatenate([variable, variable])))
    )
    unit = float(np.abs(cost).max()) or 1.0
    solution = linprog(
        cost.ravel() / unit, A_eq=constraints.tocsr(), b_eq=[1] * rows + list(counts), bounds=(0, 1), method="highs-ds"
    )
    return np.asarray(solution.x.reshape(rows, schemes).argmax(axis=1))
