"""The process around a vendor's library: a crash becomes an error that names model, step and signal."""

import sys

import pytest

from compress.device.runtimes.process import supervise
from compress.device.runtimes.vendor import TensorRTError


def test_supervise_names_model_step_and_signal_of_a_crash():
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    with pytest.raises(TensorRTError, match=r"int8.onnx: building the tensorrt engine crashed with SIGSEGV"):
        supervise([sys.executable, "-c", crash], what="int8.onnx: building the tensorrt engine", error=TensorRTError)


def test_supervise_gives_exit_code_and_last_words():
    words = "import sys; sys.stderr.write('out of memory'); sys.exit(3)"
    with pytest.raises(ValueError, match=r"step ended with exit code 3. Its last words: out of memory"):
        supervise([sys.executable, "-c", words], what="step", error=ValueError)


def test_supervise_of_a_command_that_ends_well_returns():
    supervise([sys.executable, "-c", "print('built')"], what="step", error=ValueError)
