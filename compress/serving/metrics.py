"""What a server counts, in the text format that Prometheus reads."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)  # seconds


@dataclass
class Metrics:
    """Counts of one process; changed from one thread alone."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)  # by route and status
    answers: Counter[tuple[str, float]] = field(default_factory=Counter)  # by role and bucket; not cumulative
    seconds: dict[str, float] = field(default_factory=dict)  # by role
    busy: int = 0

    def answered(self, role: str, seconds: float) -> None:
        """Counts an answer of a model."""
        self.answers[role, next((b for b in BUCKETS if seconds <= b), math.inf)] += 1
        self.seconds[role] = self.seconds.get(role, 0.0) + seconds

    def render(self, *, identity: str, model: str) -> str:
        """The text. Names of routes and roles are the program's own."""
        lines = ["# TYPE compress_info gauge", f'compress_info{{bundle="{identity}",model="{model}"}} 1']
        lines += ["# TYPE compress_busy gauge", f"compress_busy {self.busy}", "# TYPE compress_requests_total counter"]
        lines += [f'compress_requests_total{{route="{r}",code="{c}"}} {n}' for (r, c), n in sorted(self.requests.items())]
        lines.append("# TYPE compress_answer_seconds histogram")
        for role in sorted(self.seconds):
            below = 0
            for bucket in (*BUCKETS, math.inf):
                below += self.answers[role, bucket]
                lines.append(f'compress_answer_seconds_bucket{{role="{role}",le="{"+Inf" if bucket == math.inf else bucket}"}} {below}')
            lines += [f'compress_answer_seconds_sum{{role="{role}"}} {self.seconds[role]:.6f}']
            lines += [f'compress_answer_seconds_count{{role="{role}"}} {below}']
        return "\n".join(lines) + "\n"
