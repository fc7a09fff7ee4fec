"""Which TensorRT modules are taken, and how a broken start of the vendor's objects ends."""

import sys
import types

import pytest

from compress.device.runtimes.vendor import TensorRTError, TensorRTUnavailable, load, open_log, start


def fake_module(name: str, version: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__version__ = version
    module.ILogger = type("ILogger", (), {"ERROR": 1, "WARNING": 2})
    return module


@pytest.mark.parametrize(("flavour", "version"), [("tensorrt", "10.2.0.post1"), ("tensorrt", "12.0.0"), ("tensorrt_rtx", "1.6.0.41")])
def test_load_refuses_versions_it_was_not_written_for(monkeypatch, flavour, version):
    monkeypatch.setitem(sys.modules, flavour, fake_module(flavour, version))
    with pytest.raises(TensorRTUnavailable, match=f"{flavour} {version}: versions"):
        load(flavour)


def test_load_of_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(TensorRTUnavailable, match="pip install 'tensorrt-rtx>=1.7.1'"):
        load("tensorrt_rtx")


def test_load_refuses_an_unknown_flavour():
    with pytest.raises(TensorRTError, match="'tensorflow': known are tensorrt, tensorrt_rtx"):
        load("tensorflow")


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11", "11.4.0.106"])
def test_load_takes_the_versions_it_was_written_for(monkeypatch, version):
    module = fake_module("tensorrt", version)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    assert load("tensorrt") is module


def test_start_turns_a_null_builder_into_a_reason():
    def builder(log):
        log.log(1, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    with pytest.raises(TensorRTUnavailable, match=r"TensorRT's builder did not start: CUDA initialization failure with error: 35"):
        start(builder, open_log(fake_module("tensorrt", "10.9.0")), what="builder")


def test_start_never_hands_on_a_runtime_that_logged_an_error():
    def runtime(log):
        log.log(0, "CUDA error 35")
        return object()

    with pytest.raises(TensorRTUnavailable, match=r"TensorRT's runtime did not start: CUDA error 35"):
        start(runtime, open_log(fake_module("tensorrt", "10.15.1")), what="runtime")


def test_open_log_forgets_what_an_earlier_call_logged():
    module = fake_module("tensorrt", "10.9.0")
    log = open_log(module)
    log.log(1, "refused")
    log.log(2, "slow")
    assert (log.summary(), log.warnings) == ("refused", ["slow"])
    assert open_log(module) is log
    assert (log.summary(), log.warnings) == ("no message", [])
