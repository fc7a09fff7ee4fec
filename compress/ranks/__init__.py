"""Several processes of one run: who they are (group.py), how a batch is dealt among them (dealing.py), and layers that see all of it (layers.py)."""
