import pytest
import torch

from compress.quantizers.observers import BINS, OBSERVERS, Histogram, MovingAverage, largest_magnitude


def test_minmax_keeps_the_largest_magnitude() -> None:
    observer = OBSERVERS["minmax"]()
    for x in ([1.0, -3.0], [2.0, 0.5]):
        observer.update(torch.tensor(x))
    assert observer.clip(127) == 3.0


def test_the_largest_magnitude_is_found_in_any_order_of_memory() -> None:
    x = torch.arange(-120.0, 0.0).view(2, 3, 4, 5)
    for y in (x, x.to(memory_format=torch.channels_last), x.transpose(0, 1), x[:, :, ::2]):
        assert float(largest_magnitude(y)) == 120


def test_moving_average_is_the_mean_of_the_first_batches() -> None:
    observer = MovingAverage()
    for x in ([1.0, -3.0], [2.0, 0.0], [-1.0, 0.5]):
        observer.update(torch.tensor(x))
    assert float(observer.clip(127)) == pytest.approx((3 + 2 + 1) / 3)


def test_moving_average_forgets_exponentially_later() -> None:
    observer = MovingAverage()
    observer.seen.fill_(1000)
    observer.peak.fill_(1.0)
    observer.update(torch.tensor([3.0]))
    assert float(observer.clip(127)) == pytest.approx(1 + 0.01 * 2)


def test_histogram_clips_a_lone_outlier_at_the_error_minimum() -> None:
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    x[0] = 40.0
    observer = Histogram()
    observer.update(x)
    levels = 7

    def error(clip: float) -> float:
        step = clip / levels
        return float((x - (x / step).round().clamp(-levels, levels) * step).square().mean())

    best = min((error(c * 0.05), c * 0.05) for c in range(1, 801))[1]  # slow reference on the values themselves
    assert float(observer.clip(levels)) == pytest.approx(best, abs=40 / 128)
    assert error(float(observer.clip(levels))) < 0.2 * error(40.0)


def test_histogram_grows_its_limit_and_keeps_every_count() -> None:
    observer = Histogram()
    observer.update(torch.tensor([0.1, 0.2, 0.3]))
    observer.update(torch.tensor([5.0, -7.0]))
    assert float(observer.limit) >= 7
    assert float(observer.counts.sum()) == 5
    values = observer.counts.nonzero().flatten() * float(observer.limit) / BINS
    assert values.tolist() == pytest.approx([0.1, 0.2, 0.3, 5.0, 7.0], abs=0.01)


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_observer_hands_on_values_that_are_not_finite(name: str, value: float) -> None:
    observer = OBSERVERS[name]()
    observer.update(torch.tensor([1.0, value]))
    observer.update(torch.tensor([1.0, 2.0]))
    assert not torch.isfinite(observer.clip(127))


@pytest.mark.parametrize("name", OBSERVERS)
def test_observer_of_zeros_has_no_range(name: str) -> None:
    observer = OBSERVERS[name]()
    observer.update(torch.zeros(4))
    assert observer.clip(127) == 0
