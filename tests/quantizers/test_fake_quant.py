import numpy as np
import pytest
import torch

from compress.errors import CompressError, DataError
from compress.quantizers.fake_quant import SMALLEST_STEP, ActivationQuant, Switch, WeightQuant


def calibrated(x: torch.Tensor, **options: object) -> ActivationQuant:
    quantizer = ActivationQuant(**options)
    quantizer.collecting = True
    assert quantizer(x) is x
    quantizer.collecting = False
    quantizer.settle()
    return quantizer


def test_activation_quant_golden_numbers() -> None:
    quantizer = calibrated(torch.tensor([12.7])).eval()  # scale 0.1
    x = torch.tensor([0.04, 0.06, -0.26, 12.7, 99.0, -99.0])
    expected = torch.tensor([0.0, 0.1, -0.3, 12.7, 12.7, -12.8])  # saturates at 127 and -128, as QuantizeLinear does
    assert torch.allclose(quantizer(x), expected, atol=1e-6)


def test_activation_quant_gives_float32_for_half_precision() -> None:
    quantizer = calibrated(torch.tensor([12.7])).eval()
    x = torch.tensor([0.3, 0.06], dtype=torch.bfloat16)
    assert torch.equal(quantizer(x), quantizer(x.float()))
    assert quantizer(x).dtype == torch.float32


@pytest.mark.parametrize("bits", [4, 5, 8])
@pytest.mark.parametrize("training", [True, False])
def test_activation_quant_is_the_onnx_formula(bits: int, training: bool) -> None:
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(bits)) * 2
    quantizer = calibrated(x[:100], bits=bits).train(training)
    quantizer.observing.set(False)
    levels = 2 ** (bits - 1) - 1
    scale = np.float32(x[:100].abs().max().item()) / np.float32(levels)
    steps = np.clip(np.rint(x.numpy() / scale), -128 if bits == 8 else -levels, levels)
    difference = np.abs(quantizer(x).numpy() - steps.astype(np.float32) * scale)
    assert difference.max() == 0


@pytest.mark.parametrize("learned", [True, False])
def test_activation_gradient_passes_straight_through_inside_the_range(learned: bool) -> None:
    quantizer = calibrated(torch.tensor([1.27]), learned=learned)
    quantizer.observing.set(False)
    x = torch.tensor([[0.333, 5.0, -5.0, -0.2]], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("unsigned", [True, False])
def test_training_on_a_processor_computes_what_the_kernel_of_torch_does(unsigned: bool) -> None:
    drawn = torch.randn(4, 7, 9, 6, generator=torch.Generator().manual_seed(1)).permute(0, 3, 1, 2)  # channels last
    quantizer = calibrated(drawn.relu() if unsigned else drawn)
    quantizer.observing.set(False)
    quantizer.set_unsigned(unsigned)
    scale, low, high = (quantizer.scale * 127 / 255, 0, 255) if unsigned else (quantizer.scale, -128, 127)
    x, other = (3 * drawn).requires_grad_(), (3 * drawn).requires_grad_()
    ours, kernel = quantizer(x), torch.fake_quantize_per_tensor_affine(other, scale, torch.tensor(0, dtype=torch.int32), low, high)
    # the kernel multiplies by 1/scale, so a value on the very edge between two steps may fall to either
    assert ((ours - kernel).abs() > 1e-6).sum() <= 1
    assert ours.stride() == kernel.stride()
    slope = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    ours.backward(slope)
    kernel.backward(slope)
    assert x.grad is not None
    assert other.grad is not None
    assert torch.equal(x.grad, other.grad)
    assert 0 < (x.grad == 0).sum() < x.numel()


def test_learned_scale_gradient_is_that_of_the_paper() -> None:
    quantizer = calibrated(torch.tensor([127.0]), learned=True)  # scale 1
    x = torch.tensor([[0.3, 1.6, 500.0, -500.0], [2.0, -0.4, 0.0, 0.0]])  # B = 2, 4 features
    quantizer(x).sum().backward()
    # d/ds = round(x/s) - x/s inside: -0.3 + 0.4 + 0 + 0.4; outside the bounds 127 - 128; sum -0.5
    # times g = 1/sqrt(4 * 127); d/dlog s = s * d/ds with s = 1
    assert quantizer.log_scale is not None and quantizer.log_scale.grad is not None
    assert float(quantizer.log_scale.grad) == pytest.approx(-0.5 / np.sqrt(4 * 127), abs=1e-5)


def test_learned_scale_finds_a_better_step_than_the_outlier_gave() -> None:
    x = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
    x[0, 0] = 30.0
    quantizer = calibrated(x, bits=4, learned=True)
    optimizer = torch.optim.Adam([quantizer.log_scale], lr=0.05)
    before = float((quantizer(x) - x).square().mean().detach())
    for _ in range(60):
        optimizer.zero_grad()
        (quantizer(x) - x).square().mean().backward()
        optimizer.step()
    assert float((quantizer(x) - x).square().mean().detach()) < 0.6 * before


def test_fixed_learned_scale_is_a_constant_of_the_same_value() -> None:
    quantizer = calibrated(torch.tensor([3.0]), learned=True).eval()
    with torch.no_grad():
        quantizer.log_scale += 0.1
    x = torch.linspace(-4, 4, 1001)
    expected = quantizer(x).detach()
    quantizer.fix()
    assert not list(quantizer.parameters())
    assert torch.equal(quantizer(x), expected)


def test_observing_range_follows_training_data_and_no_other() -> None:
    quantizer = calibrated(torch.tensor([1.0]))
    scale = quantizer.scale.clone()
    quantizer.eval()(torch.tensor([50.0]))
    assert torch.equal(quantizer.scale, scale)
    quantizer.train()(torch.tensor([50.0]))
    assert quantizer.scale > scale


@pytest.mark.parametrize("observer", ["minmax", "moving_average", "histogram"])
def test_frozen_range_does_not_move(observer: str) -> None:
    quantizer = calibrated(torch.tensor([1.0]), observer=observer)
    quantizer.observing.set(False)
    scale = quantizer.scale.clone()
    quantizer.train()(torch.tensor([50.0]))
    assert torch.equal(quantizer.scale, scale)


def test_activation_scale_has_a_floor() -> None:
    assert float(calibrated(torch.zeros(3)).scale) == SMALLEST_STEP


def test_check_names_the_module_that_saw_nothing() -> None:
    with pytest.raises(DataError, match=r"stem\.output_quant: no range"):
        ActivationQuant().check("stem.output_quant")


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weight_quant_is_the_formula_and_bakes_to_the_same(bits: int, per_channel: bool) -> None:
    weight = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(1)) * torch.logspace(-2, 1, 6).view(6, 1, 1, 1)
    quantizer = WeightQuant(bits=bits, per_channel=per_channel)
    levels = 2 ** (bits - 1) - 1
    peak = weight.abs().flatten(1).amax(1).view(6, 1, 1, 1) if per_channel else weight.abs().max()
    expected = (weight / (peak / levels)).round() * (peak / levels)
    fake = quantizer(weight)
    assert torch.allclose(fake, expected, atol=1e-6)
    quantizer.bake(weight)
    assert quantizer.integers is not None and quantizer.integers.dtype == torch.int8
    assert int(quantizer.integers.abs().max()) == levels
    assert torch.equal(quantizer(None), fake)


def test_weight_gradient_passes_straight_through() -> None:
    weight = torch.randn(4, 5, requires_grad=True)
    WeightQuant()(weight).sum().backward()
    assert weight.grad is not None and torch.equal(weight.grad, torch.ones(4, 5))


def test_weight_channel_of_zeros_stays_zero() -> None:
    weight = torch.cat([torch.zeros(1, 4), torch.ones(1, 4)])
    assert torch.equal(WeightQuant()(weight), weight)


def test_weight_quant_without_weight_tells_to_freeze_first() -> None:
    with pytest.raises(CompressError, match=r"freeze\(model\)"):
        WeightQuant()(None)


def test_switch_reads_its_copy_back_from_state() -> None:
    switch, other = Switch(True), Switch(True)
    switch.set(False)
    other.load_state_dict(switch.state_dict())
    assert other.on is False


@pytest.mark.parametrize("training", [True, False])
def test_unsigned_codes_keep_the_clip_and_halve_the_step(training: bool) -> None:
    quantizer = calibrated(torch.tensor([12.7, 0.0])).train(training)  # scale 0.1, nothing below 0
    quantizer.observing.set(False)
    quantizer.set_unsigned(True)
    step = 12.7 / 255
    x = torch.tensor([0.02, 0.03, 1.4 * step, 12.7, 99.0, -99.0])
    expected = torch.tensor([0.0, step, step, 12.7, 12.7, 0.0])
    assert torch.allclose(quantizer(x), expected, atol=1e-5)
    quantizer.set_unsigned(False)
    assert torch.allclose(quantizer(x[:2]), torch.tensor([0.0, 0.0]), atol=1e-6)


@pytest.mark.parametrize(("seen", "bits"), [(-0.001, 8), (0.0, 4)])
def test_values_below_zero_and_fewer_bits_keep_signed_codes(seen: float, bits: int) -> None:
    quantizer = calibrated(torch.tensor([12.7, seen]), bits=bits)
    quantizer.set_unsigned(True)
    assert not quantizer.unsigned.on


def test_learned_scale_of_unsigned_codes_has_the_papers_gradient() -> None:
    quantizer = calibrated(torch.tensor([255.0]), learned=True)  # symmetric scale 255 / 127, unsigned scale 1
    quantizer.set_unsigned(True)
    x = torch.tensor([[0.3, 1.6, 500.0, 0.0]])
    quantizer(x).sum().backward()
    # d/ds = -0.3 + 0.4 + 255 + 0, times g = 1/sqrt(4 * 255); d/dlog s = s * d/ds with s = 1
    assert quantizer.log_scale is not None and quantizer.log_scale.grad is not None
    assert float(quantizer.log_scale.grad) == pytest.approx(255.1 / np.sqrt(4 * 255), rel=1e-4)
