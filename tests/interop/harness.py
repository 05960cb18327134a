"""What every case stands on: the list of cases, waiting, processes, ports and folders."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import namedtuple

# Long enough for a machine that has much else to do; nothing waits so long when all is well.
WAIT_SECONDS = 40.0
POLL_SECONDS = 0.02
HOST = "127.0.0.1"

Case = namedtuple("Case", "name function needs")
CASES = []


class Failed(Exception):
    """What a case has found wrong."""


def case(name, needs=()):
    """Registers a case. `needs` are the features of postern, as `features.py` knows them, without
    which it cannot pass."""

    def register(function):
        CASES.append(Case(name, function, tuple(needs)))
        return function

    return register


def expect(holds, what):
    if not holds:
        raise Failed(what)


def expect_equal(got, wanted, what):
    expect(got == wanted, f"{what}: {got!r}, and not {wanted!r}")


def wait_for(what, probe, seconds=WAIT_SECONDS):
    """Polls until the probe says something true, and returns that."""
    end_at = time.monotonic() + seconds
    while time.monotonic() < end_at:
        found = probe()
        if found:
            return found
        time.sleep(POLL_SECONDS)
    described = what() if callable(what) else what
    raise Failed(f"no {described} within {seconds:.0f} s")


class Bench:
    """What the cases share: the program under test and a place for files."""

    def __init__(self, postern, root):
        self.postern, self.root, self.count = postern, root, 0
        self.lock = threading.Lock()
        self.once = {}

    def folder(self, name):
        with self.lock:
            self.count += 1
            folder = self.root / f"{self.count}-{name}"
        folder.mkdir(mode=0o755)
        return folder

    def shared(self, name, make):
        """Something that is costly to make and that no case changes; made at its first use."""
        with self.lock:
            lock, made = self.once.setdefault(name, (threading.Lock(), []))
        with lock:
            if not made:
                made.append(make(self))
            return made[0]


# ---- ports and processes ----------------------------------------------------------------------


# Below those that the kernel gives to clients: a port of these, once found free, is not taken by
# somebody's connection before its server has started.
PORTS = range(10_000, 32_768)
GIVEN_PORTS = set()
PORTS_LOCK = threading.Lock()


def free_port():
    """A port that nobody listens on, and never the same one twice in a run."""
    while True:
        port = random.choice(PORTS)
        with PORTS_LOCK:
            if port in GIVEN_PORTS:
                continue
            GIVEN_PORTS.add(port)
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind((HOST, port))
            return port


def program(name):
    # The administrator's programs are often not in the path of a plain shell.
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    expect(path, f"{name} is not installed (tests/interop/install.sh does that)")
    return path


def run(arguments, content=b"", seconds=30):
    """Runs a program to its end with some standard input; what it says is in `stdout`, as text."""
    done = subprocess.run(
        [str(argument) for argument in arguments], input=content, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=seconds, check=False,
    )
    done.stdout = done.stdout.decode(errors="replace")
    return done


def tail(path, lines=15):
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


@contextlib.contextmanager
def running(arguments, output):
    """A process for the time of a block; what it prints goes into a file."""
    with output.open("wb") as out:
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=output.parent,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def end(process):
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise Failed(f"{process.args[0]} did not end on SIGTERM") from None


def greets(address):
    """Whether a server greets at an address. It is asked to: one that has only bound its port is
    not ready."""
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as client:
        client.settimeout(WAIT_SECONDS)
        try:
            client.connect(address)
            greeted = client.recv(512).startswith(b"220")
            client.sendall(b"QUIT\r\n")
            client.recv(512)
        except OSError:
            return False
        return greeted


def listens(address):
    """Whether a server takes connections; for those who do not greet first."""
    with contextlib.suppress(OSError), socket.create_connection(address, WAIT_SECONDS):
        return True
    return False


def wait_until_ready(process, address, output, probe=greets):
    def ready():
        ended = process.poll() is not None
        expect(not ended, f"{process.args[0]} ended at once:\n{tail(output)}")
        return probe(address)

    wait_for(f"sign of life from {process.args[0]} at {address}", ready)
