"""Work on ONNX files with onnx and numpy alone: cleaning, targets, contracts, float16, int8 coverage, divergence."""
