"""Every exception that `compress` raises on purpose; each message carries place, value and way out.

    CompressError                exit code 1
    +-- RecipeError              2   the recipe or an override: file:line, dotted place, nearest name
    +-- DataError                4   rows, images, texts, labels
    +-- DependencyError          5   a package, extra, weights file or network that is not there
    +-- StoreError               6   the store or a run folder: locked, corrupt, full, read-only
    +-- ParityError              7   two forms of one model that should agree do not
    +-- EngineError              8   TensorRT refused a file, or cannot run here
    +-- BundleError              9   a bundle that does not verify

Results, not exceptions, once report and bundle are written: a missed budget ends with 3, a target that lost all its int8 files with 7.
"""


class CompressError(Exception):
    """The base of the tree: the command line prints it without a traceback and ends with `exit_code`."""

    exit_code = 1


class RecipeError(CompressError):
    """The recipe or an override is wrong; `problems` lists every fault, one line each."""

    exit_code = 2

    def __init__(self, problems: list[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else problems
        super().__init__("\n".join(self.problems))


class DataError(CompressError):
    """Rows, images, texts or labels are unusable."""

    exit_code = 4


class DependencyError(CompressError):
    """A package, an extra, a weights file or the network is not there."""

    exit_code = 5


class StoreError(CompressError):
    """The store or a run folder is locked, corrupt, full or read-only."""

    exit_code = 6


class ParityError(CompressError):
    """Two forms of one model that should agree do not."""

    exit_code = 7


class EngineError(CompressError):
    """TensorRT refused a file, or cannot build or run here."""

    exit_code = 8


class BundleError(CompressError):
    """A bundle does not verify."""

    exit_code = 9


BUDGET_MISSED = 3  # exit code of a finished run whose budget was missed
