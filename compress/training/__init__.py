"""Training: batches of distinct inputs, views, stored answers, and the one loop."""
