"""Answers, verifies and measures on this device; `python run.py --help`. In a bundle this file is `run.py`, beside the folder `device`."""

import os
import sys

sys.dont_write_bytecode = True  # a cache folder would be files that the manifest does not list
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # nor may a process that is started from here write one

if __name__ == "__main__":
    import importlib
    from pathlib import Path

    folder = Path(__file__).resolve().parent
    sys.path.insert(0, str(folder))  # isolated mode (-I) leaves it out
    sys.exit(importlib.import_module("device.main").main(sys.argv[1:], folder=folder))
