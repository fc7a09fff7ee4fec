"""Numbers as page, Markdown and terminal write them."""

import pytest

from compress.reporting.cells import cell, show_bytes, significant


@pytest.mark.parametrize(
    ("value", "text"), [(0.29634, "0.296"), (6.6, "6.60"), (25.04, "25.0"), (1234.5, "1,230"), (0.0, "0"), (None, "–"), (0.9999, "1.00")]
)
def test_significant_keeps_three_digits(value, text):
    assert significant(value) == text


def test_bytes_picks_the_unit():
    assert (show_bytes(115_300_000), show_bytes(350_123)) == ("115 MB", "350 kB")


def test_cell_says_what_it_holds():
    assert [cell(v) for v in (True, None, 0.00012345, 12000, ["a", "b"])] == ["yes", "–", "0.0001234", "12,000", "a, b"]
