"""Numbers by place: the same wherever and with whomever they are drawn, and uniform."""

from __future__ import annotations

import numpy as np

from compress.modalities.draws import uniforms


def test_a_number_depends_on_seed_view_and_input_alone() -> None:
    whole = uniforms(3, 7, np.arange(100), 4)
    np.testing.assert_array_equal(uniforms(3, 7, np.array([41, 5]), 4), whole[[41, 5]])
    for other in (uniforms(4, 7, np.arange(100), 4), uniforms(3, 8, np.arange(100), 4)):
        assert not np.isin(other, whole).any()


def test_numbers_are_uniform_and_columns_are_independent() -> None:
    drawn = uniforms(0, 1, np.arange(20_000), 3)
    assert drawn.min() >= 0 and drawn.max() < 1
    np.testing.assert_allclose(drawn.mean(0), 0.5, atol=0.01)  # deviation of the mean: 0.29 / sqrt(20,000) = 0.002
    np.testing.assert_allclose(drawn.var(0), 1 / 12, atol=0.003)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.03
