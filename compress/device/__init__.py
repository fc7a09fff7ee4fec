"""What ships: the runner that answers, verifies and measures on a device.

Imports numpy and one runtime, plus tokenizers and pillow where raw text or images come in, and nothing else of `compress`: a bundle
carries this folder as `device/` beside `run.py`. Written for Python 3.9 or newer.
"""
