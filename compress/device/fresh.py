"""What one file costs a program from its start: `python -m compress.device.fresh MODEL FEEDS RUNTIME THREADS`, in a process that does only this.

FEEDS is an .npz with one array a port. Prints one line of JSON: `answered`, the system's monotonic clock at the first answer in seconds;
`peak_bytes`, the largest resident memory after CALLS answers, None where the system does not tell; `modules`, what was imported.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from .errors import DeviceError
from .sessions import open_session

CALLS = 3


def main(model: str, feeds: str, runtime: str, threads: str) -> None:
    """Opens, answers, prints; ends with the message of the error where the file cannot be run."""
    with np.load(feeds, allow_pickle=False) as file:
        given = {name: file[name] for name in file.files}
    try:
        session = open_session(Path(model), runtime=runtime, threads=int(threads))
        session.run(given)
        answered = time.monotonic()  # one clock for all processes of a Linux machine
        for _ in range(CALLS - 1):
            session.run(given)
    except DeviceError as error:
        sys.exit(str(error))
    modules = sorted({name.split(".")[0] for name in sys.modules} - {"__main__"})
    print(json.dumps({"answered": answered, "peak_bytes": peak_bytes(), "modules": modules}), flush=True)


def peak_bytes() -> int | None:
    """The high-water mark of this process alone, which only Linux tells."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024  # the kernel says kB and means KiB


if __name__ == "__main__":
    main(*sys.argv[1:])
