"""Freed memory is kept while a stage calculates, and handed back behind it."""

import json
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource
from pathlib import Path
import numpy as np
from compress.store.heap import freed_memory_kept

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.empty(64 * 2**20, dtype=np.uint8).fill(1)  # twice the size from which blocks are mapped afresh
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

found = {"afresh": faults(5)}
with freed_memory_kept():
    faults(3)
    found |= {"kept": faults(5), "inside_mib": resident()}
print(json.dumps(found | {"behind_mib": resident()}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told")
def test_blocks_are_used_again_and_go_back_behind() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["kept"] < found["afresh"] / 10, found
    assert found["behind_mib"] < found["inside_mib"] - 50, found
