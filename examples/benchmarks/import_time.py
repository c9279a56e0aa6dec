"""`import sksae` against `import sklearn.base`, each in fresh processes; torch must stay out."""

import statistics
import subprocess
import sys

from _harness import at_most, interleave, option_parser, report

OURS, THEIRS = "sksae", "sklearn.base"
TARGET = 50  # ms
CHILD = """
import sys, time
start = time.perf_counter()
import {module}
print(1e3 * (time.perf_counter() - start), "torch" in sys.modules)
"""


def import_in_fresh_process(module: str) -> tuple[float, bool]:
    """Return the milliseconds that the import took, and whether torch came with it."""
    command = [sys.executable, "-c", CHILD.format(module=module)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    milliseconds, torch_imported = output.split()
    return float(milliseconds), torch_imported == "True"


def main() -> None:
    options = option_parser(__doc__, repeats=15).parse_args()
    modules = OURS, THEIRS
    # The untimed first round leaves bytecode and file cache behind: a first import ever is no claim
    _, results = interleave(
        {module: lambda _, module=module: import_in_fresh_process(module) for module in modules},
        options.repeats,
    )
    times = {module: [ms for ms, _ in results[module]] for module in modules}
    more = statistics.median(a - b for a, b in zip(times[OURS], times[THEIRS], strict=True))
    torch_imported = {module: any(flag for _, flag in results[module]) for module in modules}
    rows = [
        {
            "import": module,
            "ms": statistics.median(times[module]),
            "torch imported": "yes" if torch_imported[module] else "no",
        }
        for module in modules
    ]
    verdict = at_most(more, TARGET)
    rows[0] |= {
        "ms more": more,
        "target": f"{verdict['target']} ms, without torch",
        "met": verdict["met"] and not torch_imported[OURS],
    }
    report("Importing the package", rows, [], options.json)


if __name__ == "__main__":
    main()
