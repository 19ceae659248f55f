"""What a terminal shows at the end: Belayed's figures, and how they compare."""
from rich.table import Table as Shown
from benchmarks.results import Result
def table(result): return ""
