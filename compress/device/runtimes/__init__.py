"""The runtimes that a device may have beside ONNX Runtime, and what they need to start."""
