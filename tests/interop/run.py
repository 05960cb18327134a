#!/usr/bin/env python3
"""Runs postern between real mail programs.

    tests/interop/run.py [--lenient] [--keep] [--jobs N] [--only WORD] [PATH-OF-POSTERN]

The path may also be given as POSTERN=...; by default it is target/release/postern. To be run as
root: Postfix, Dovecot, Cyrus and Exim start only so. `install.sh` beside this file brings them.
Each case has its own servers, on free ports of 127.0.0.1 and with all their files in one temporary
folder. A missing program is a failure, and so is a feature that postern does not have yet, but with
`--lenient`, which only reports the latter.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import features
from harness import CASES, Bench, Failed

# These register their cases when they are read.
from cases import chunking, clients, differential, next_hops, prdr, tls, trusted  # noqa: F401

# Most of a case's time is waiting for processes that start: some run beside each other.
JOBS = 4


def run(bench, case, lenient):
    """The word for how a case came out, after it was printed."""
    began = time.monotonic()
    try:
        case.function(bench)
        word, fault = "PASS", None
    except Exception as error:  # any fault fails its case, and the others still run
        fault = error if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
        word = "FAIL"
        missing = [one for one in case.needs if lenient and not features.is_there(bench, one)]
        if missing:
            word, fault = "LATER", f"postern has no {', '.join(missing)}"
    seconds = time.monotonic() - began
    lines = [f"{word:5} {case.name} ({seconds:.1f} s)"]
    lines += ["      " + line for line in str(fault).splitlines()] if fault else []
    # One write: the cases beside this one print too.
    print("\n".join(lines) + "\n", end="", flush=True)
    return word


def arguments():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("POSTERN", "target/release/postern")
    options.add_argument("postern", nargs="?", default=default, metavar="PATH-OF-POSTERN")
    options.add_argument("--lenient", action="store_true", help="report what is not there yet")
    options.add_argument("--keep", action="store_true", help="leave the temporary folder")
    options.add_argument("--jobs", type=int, default=JOBS, help="cases beside each other")
    options.add_argument("--only", default="", metavar="WORD", help="cases whose name holds it")
    return options.parse_args()


@contextlib.contextmanager
def temporary_folder(keep):
    root = Path(tempfile.mkdtemp(prefix="postern-interop-"))
    # The servers reach their files as users of their own.
    root.chmod(0o755)
    yield root
    if keep:
        print(f"all files are in {root}")
    else:
        shutil.rmtree(root)


def main():
    given = arguments()
    os.umask(0o022)
    cases = [case for case in CASES if given.only in case.name]
    with temporary_folder(given.keep) as root:
        bench = Bench(Path(given.postern).resolve(), root)
        with ThreadPoolExecutor(given.jobs) as pool:
            words = list(pool.map(lambda case: run(bench, case, given.lenient), cases))
    passed, failed, later = (words.count(word) for word in ("PASS", "FAIL", "LATER"))
    print(f"{passed} passed, {failed} failed" + (f", {later} not there yet" if later else ""))
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
