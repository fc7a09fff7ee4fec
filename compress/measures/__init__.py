"""What is counted: metrics, their intervals, and tests of a difference."""
