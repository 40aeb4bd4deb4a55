"""The matrix exponential, in high precision."""

import mpmath
import numpy as np


def expm(matrix):
    """Return exp(matrix) as a float array.

    Not by scipy.linalg.expm, which is off by up to some percent for triangular matrices whose diagonal entries are
    equal but for rounding: 0.071875 for 0.073263 beside the diagonal of ``[[-4, 4], [0, -4.000000000000009]]``.
    """
    n = len(matrix)
    if n == 0:
        return np.zeros((0, 0))
    with mpmath.workdps(40):
        power = mpmath.expm(mpmath.matrix(np.asarray(matrix).tolist()), method="taylor")
        return np.array([[float(power[i, j]) for j in range(n)] for i in range(n)])
