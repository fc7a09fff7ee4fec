"""The driver probe and device memory, against a driver compiled from fake_driver.c (the vendor boundary)."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from compress.device.errors import DeviceError
from compress.device.gpu import GPU, DeviceMemory, missing_gpu, probe_gpu

SOURCE = Path(__file__).with_name("fake_driver.c")


@pytest.fixture
def compile_driver(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed, so the fake driver cannot be built")

    def compile_with(*, init=0, count=1):
        library = tmp_path / f"libcuda_{init}_{count}.so"
        subprocess.run(["gcc", "-shared", "-fPIC", f"-DINIT={init}", f"-DCOUNT={count}", "-o", library, SOURCE], check=True)
        return str(library)

    return compile_with


def test_probe_gpu_without_driver_gives_the_reason():
    assert probe_gpu("libno_such_driver.so.1") == GPU(False, "no NVIDIA driver (libno_such_driver.so.1 not found)")


def test_probe_gpu_with_failing_init_gives_the_code(compile_driver):
    gpu = probe_gpu(compile_driver(init=100))
    assert not gpu.ok
    assert gpu.reason == "driver present but no usable GPU (cuInit -> 100)"


def test_probe_gpu_with_no_device_is_not_ok(compile_driver):
    gpu = probe_gpu(compile_driver(count=0))
    assert not gpu.ok
    assert "0 devices" in gpu.reason


def test_probe_gpu_describes_the_first_device(compile_driver):
    gpu = probe_gpu(compile_driver(count=2))
    assert (gpu.ok, gpu.count, gpu.name, gpu.sm, gpu.driver) == (True, 2, "Fake GPU 1", "87", "12.6")


def test_probe_gpu_survives_a_library_that_is_no_driver(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed, so the fake driver cannot be built")
    library = tmp_path / "libempty.so"
    subprocess.run(["gcc", "-shared", "-nostdlib", "-x", "c", "-o", library, "/dev/null"], check=True)
    gpu = probe_gpu(str(library))
    assert not gpu.ok
    assert "cuInit" in gpu.reason


def test_missing_gpu_is_none_where_a_gpu_is(compile_driver):
    assert missing_gpu(compile_driver()) is None
    assert missing_gpu(compile_driver(count=0)) == probe_gpu(compile_driver(count=0)).reason


def test_device_memory_brings_back_what_was_uploaded(compile_driver):
    memory = DeviceMemory(compile_driver())
    array = np.arange(6, dtype=np.int64).reshape(2, 3)
    memory.reserve("text", array.nbytes)
    memory.upload("text", array)
    result = np.zeros_like(array)
    memory.download("text", result)
    memory.wait()
    memory.close()
    np.testing.assert_array_equal(result, array)


def test_device_memory_keeps_a_buffer_that_is_large_enough(compile_driver):
    memory = DeviceMemory(compile_driver())
    address = memory.reserve("image", 64)
    assert memory.reserve("image", 16) == address
    other = memory.reserve("text", 0)
    assert other not in (0, address)
    memory.close()


def test_device_memory_names_the_call_that_failed(compile_driver):
    memory = DeviceMemory(compile_driver())
    with pytest.raises(DeviceError, match="cuMemAlloc of 2097152 bytes -> 2"):
        memory.reserve("image", 2 << 20)
