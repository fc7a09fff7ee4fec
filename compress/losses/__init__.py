"""What a student is trained on: functions of logits, and their sum."""
