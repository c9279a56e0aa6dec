"""What `import sksae` costs on top of `import sklearn.base`; torch must stay out.

One fresh process imports the one and then the other, so that the difference is timed itself. Timed
apart, in two processes, it would be that of two seconds that each vary by a tenth.
"""

import statistics
import subprocess
import sys

from _harness import at_most, option_parser, report

TARGET = 50  # ms
CHILD = """
import sys, time
start = time.perf_counter()
import sklearn.base
between = time.perf_counter()
import sksae
end = time.perf_counter()
print(1e3 * (between - start), 1e3 * (end - between), "torch" in sys.modules)
"""


def import_in_fresh_process() -> tuple[float, float, bool]:
    """Return the milliseconds of both imports, and whether torch came with them."""
    command = [sys.executable, "-c", CHILD]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    theirs, ours, torch_imported = output.split()
    return float(theirs), float(ours), torch_imported == "True"


def main() -> None:
    options = option_parser(__doc__, repeats=15).parse_args()
    # The untimed first run leaves bytecode and file cache behind: a first import ever is no claim
    import_in_fresh_process()
    theirs, ours, with_torch = zip(
        *(import_in_fresh_process() for _ in range(options.repeats)), strict=True
    )
    more = statistics.median(ours)
    verdict = at_most(more, TARGET)
    rows = [
        {"import": "sklearn.base", "ms": statistics.median(theirs)},
        {
            "import": "then sksae",
            "ms": more,
            "most": max(ours),
            "torch imported": "yes" if any(with_torch) else "no",
            "target": f"{verdict['target']} ms, without torch",
            "met": verdict["met"] and not any(with_torch),
        },
    ]
    report("Importing the package", rows, [], options.json)


if __name__ == "__main__":
    main()
