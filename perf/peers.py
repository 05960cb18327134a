#!/usr/bin/env python3
"""CPU per message of postern, in-line to a next hop, beside two peers under the same load.

    POSTERN=target/release/postern python3 perf/peers.py [--rounds 5] [--loads 5] [--body x|words]

Needs root and Debian's postfix package (its daemons need not run). Only 127.0.0.1, free ports,
a private Postfix instance below a temporary folder; whatever is started is ended by its pid.
"""

import argparse
import os
import pathlib
import random
import resource
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests/interop"))
import postfix as instance  # noqa: E402

PATTERNS = HERE.parent / "tests/corpus/patterns/literals-200.txt"
POSTERN = os.environ.get("POSTERN", str(HERE.parent / "target/release/postern"))
CONNECTIONS, MESSAGES, OCTETS, IDLE = 20, 400, 4096, 1000
GOALS = {"smtp-sink": 1.5, "postfix-proxy": 0.2, "idle_mib": 4.0}
DEADLINE = time.monotonic() + 170


def left():
    seconds = DEADLINE - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("out of time")
    return seconds


def free_ports(count):
    """Ports that are free now; all are held until the last is known, so none comes twice."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def wait_banner(port, process):
    until = time.monotonic() + min(15, left())
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), 2) as s:
                if s.recv(512).startswith(b"220"):
                    s.sendall(b"QUIT\r\n")
                    s.recv(512)
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"no banner from {process.args[0]}")


# ---- CPU of a peer: its cgroup, which keeps the time of the dead; without one, its process tree


class CgroupMeter:
    def __init__(self, base, name, version):
        self.path = base / f"postern-peers-{os.getpid()}-{name}"
        self.version = version
        self.path.mkdir()
        self.cpu()

    def enter(self):  # in the child, before exec
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def started(self, pid):
        pass

    def cpu(self):
        """Seconds, user and system, of whoever is or was in it."""
        if self.version == 1:
            return int((self.path / "cpuacct.usage").read_text()) / 1e9
        lines = (self.path / "cpu.stat").read_text().splitlines()
        return int(dict(line.split() for line in lines)["usage_usec"]) / 1e6

    def pids(self):
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]

    def close(self):
        for _ in range(50):
            try:
                return self.path.rmdir()
            except OSError:
                time.sleep(0.05)


class TreeMeter:
    """Ticks of 10 ms, and a child's only once it was waited for: the lesser way."""

    def __init__(self):
        self.root = None

    def enter(self):
        pass

    def started(self, pid):
        self.root = pid

    def stats(self):
        found = {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            found[int(stat.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
        return found

    def tree(self, found):
        tree, grown = {self.root}, True
        while grown:
            more = {pid for pid, (parent, _) in found.items() if parent in tree} - tree
            tree, grown = tree | more, bool(more)
        return tree & found.keys()

    def cpu(self):
        found = self.stats()
        ticks = sum(found[pid][1] for pid in self.tree(found))
        return ticks / os.sysconf("SC_CLK_TCK")

    def pids(self):
        return sorted(self.tree(self.stats()))

    def close(self):
        pass


def meter(name):
    for base, version in [("/sys/fs/cgroup/cpuacct", 1), ("/sys/fs/cgroup", 2), ("/sys/fs/cgroup/unified", 2)]:
        try:
            return CgroupMeter(pathlib.Path(base), name, version)
        except (OSError, KeyError):
            try:
                (pathlib.Path(base) / f"postern-peers-{os.getpid()}-{name}").rmdir()
            except OSError:
                pass
    return TreeMeter()


# ---- Peers


class Peer:
    def __init__(self, name, argv, port, env=None):
        self.name, self.argv, self.port, self.samples = name, argv, port, []
        self.meter = meter(name)
        self.process = subprocess.Popen(
            argv,
            preexec_fn=self.meter.enter,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.meter.started(self.process.pid)

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if isinstance(self.meter, CgroupMeter):
            for pid in self.meter.pids():  # only what this peer left behind
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.meter.close()


def sink(name, port):
    return Peer(name, ["smtp-sink", "-u", "nobody", f"127.0.0.1:{port}", "1024"], port)


def postern(folder, name, port, admin, next_hop, ledger=True, **env):
    def quoted(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    literals = [quoted(line) for line in PATTERNS.read_text().splitlines() if line]
    assert len(literals) == 200, len(literals)
    config = folder / f"{name}.toml"
    config.write_text(
        f"""hostname = "localhost"
shards = 1
log = "off"
state = "{folder / name}"
connections = 4096

[listen.mx]
# All of the load comes from one address.
connections-per-source = 0
address = "127.0.0.1:{port}"
protocol = "smtp"

[route.next]
to = "smtp://127.0.0.1:{next_hop}"

[domain."near.test"]
route = "next"
recipients = "any"
class = "standard"

[class.standard]
decide = [{{ tag = "listed", then = "reject", text = "listed" }}]

[rule.listed]
literals = [{", ".join(literals)}]
in = ["raw", "text"]
tag = "listed"

[ledger]
keep = {str(ledger).lower()}

[admin]
address = "127.0.0.1:{admin}"
"""
    )
    return Peer(name, [POSTERN, "serve", "--config", str(config)], port, dict(os.environ, **env))


def postfix(folder, port, next_hop):
    """Postfix as a filter before its queue, without all that costs and that nobody else does."""
    settings = """myhostname = localhost
mydestination = near.test
local_recipient_maps =
mynetworks = 127.0.0.0/8
default_process_limit = 300
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
"""
    options = [f"smtpd_proxy_filter=127.0.0.1:{next_hop}"]
    etc = instance.write(folder / "postfix", port, settings, options)
    env = dict(os.environ, MAIL_CONFIG=str(etc))
    return Peer("postfix-proxy", instance.master(etc), port, env)


# ---- Measurements


def load_command(port, body):
    text = ["-l", str(OCTETS)] if body is None else ["-F", str(body)]
    return ["smtp-source", "-d", "-s", str(CONNECTIONS), "-m", str(MESSAGES), *text,
            "-f", "sender@far.test", "-t", "user@near.test", f"127.0.0.1:{port}"]


def load(peer, body, times):
    for _ in range(times):
        # smtp-source ends with a failure at the first reply that is not a positive one
        subprocess.run(load_command(peer.port, body), check=True, timeout=min(30, left()), stdin=subprocess.DEVNULL)


def sample(peer, body, times):
    before = peer.meter.cpu()
    load(peer, body, times)
    time.sleep(0.05)  # the last QUITs
    return (peer.meter.cpu() - before) / (times * MESSAGES) * 1e6


def metrics(admin):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    totals = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            name = name.split("{")[0]
            totals[name] = totals.get(name, 0) + float(value)
    return totals


def rss_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


def line_from(s):
    got = b""
    while not got.endswith(b"\n"):
        more = s.recv(512)
        if not more:
            raise RuntimeError("closed while idle")
        got += more
    return got


def idle_memory(peer):
    """Resident KiB: before, with IDLE connections greeted, and after their EHLO."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = rss_kib(peer.process.pid)
    connections = []
    try:
        for _ in range(IDLE):
            connections.append(socket.create_connection(("127.0.0.1", peer.port), 10))
        for s in connections:
            if not line_from(s).startswith(b"220"):
                raise RuntimeError("not greeted")
        time.sleep(0.5)
        greeted = rss_kib(peer.process.pid)
        for s in connections:
            s.sendall(b"EHLO client.far.test\r\n")
        for s in connections:
            if not line_from(s).startswith(b"250"):
                raise RuntimeError("EHLO refused")
        time.sleep(0.5)
        return before, greeted, rss_kib(peer.process.pid)
    finally:
        for s in connections:
            s.close()


def words(folder):
    """A message of OCTETS octets of made-up words, the same each time, without any pattern."""
    dice, lines, line = random.Random(7), [], ""
    syllables = "ba de fi go lu ma ne pi ro su ta ve wi zo ka le".split()
    patterns = [p.lower() for p in PATTERNS.read_text().splitlines() if p]
    lines += ["From: sender@far.test", "To: user@near.test", "Subject: minutes", ""]
    while sum(len(x) + 2 for x in lines) < OCTETS:
        line = ""
        while len(line) < 68:
            line += "".join(dice.choice(syllables) for _ in range(dice.randint(1, 4))) + " "
        lines.append(line.rstrip())
    text = "\n".join(lines) + "\n"
    hits = [p for p in patterns if p in text.lower()]
    assert not hits, hits
    body = folder / "words.eml"
    body.write_text(text)
    return body


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    options.add_argument("--loads", type=int, default=5, help=f"loads of {MESSAGES} messages a sample")
    options.add_argument("--body", choices=["x", "words"], default="x", help="smtp-source's own X lines, or words")
    options = options.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/usr/lib/postfix/sbin"
    if os.geteuid() != 0:
        sys.exit("peers.py: needs root, for Postfix and the cgroups")
    missing = [tool for tool in ("smtp-source", "smtp-sink", "postfix", POSTERN) if not shutil.which(tool)]
    if missing:
        sys.exit(f"peers.py: not found: {', '.join(missing)}")

    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-peers-"))
    folder.chmod(0o755)  # Postfix's own user looks in
    started = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("peers.py: ended"))
    try:
        next_port, sink_port, postern_port, admin, ledger_port, ledger_admin, proxy_port, *idle_ports = free_ports(11)
        body = words(folder) if options.body == "words" else None
        next_hop = sink("next-hop", next_port)
        started.append(next_hop)
        peers = []
        for make in (
            lambda: sink("smtp-sink", sink_port),
            # Nobody else keeps a durable record of outcomes: like is compared with like.
            lambda: postern(folder, "postern", postern_port, admin, next_port, ledger=False),
            lambda: postern(folder, "postern-ledger", ledger_port, ledger_admin, next_port),
            lambda: postfix(folder, proxy_port, next_port),
        ):
            peers.append(make())
            started.append(peers[-1])
        for peer in started:
            wait_banner(peer.port, peer.process)
        base, ours, with_ledger, proxy = peers
        for peer in peers:
            load(peer, body, 1)

        rings = {"postern_ring_enters_total": [], "postern_ring_sends_total": []}
        for _ in range(options.rounds):
            for peer in peers:
                before = metrics(admin) if peer is ours else None
                peer.samples.append(sample(peer, body, options.loads))
                if before is not None:
                    after = metrics(admin)
                    for name, values in rings.items():
                        if name in after:
                            values.append((after[name] - before.get(name, 0)) / (options.loads * MESSAGES))

        # Fresh processes: as shipped, and with the allocator kept from transparent huge pages
        idles = []
        for label, env, ports in (
            ("as shipped", {}, idle_ports[:2]),
            ("MIMALLOC_ALLOW_THP=0", {"MIMALLOC_ALLOW_THP": "0"}, idle_ports[2:]),
        ):
            idle = postern(folder, f"idle-{len(idles)}", *ports, next_port, **env)
            started.append(idle)
            wait_banner(idle.port, idle.process)
            idles.append((label, *idle_memory(idle)))

        print("Commands")
        for peer in (next_hop, *peers):
            print(f"  {peer.name:14} {shlex.join(peer.argv)}")
        print(f"  {'load':14} {shlex.join(load_command('PORT', body))}")
        how = type(base.meter).__name__
        print(f"\nCPU µs a message: {options.rounds} rounds interleaved, a sample is {options.loads} x {MESSAGES} messages ({how})")
        print(f"  {'peer':14} {'median':>8} {'min':>8} {'max':>8}")
        median = {}
        for peer in peers:
            median[peer.name] = statistics.median(peer.samples)
            print(f"  {peer.name:14} {median[peer.name]:8.1f} {min(peer.samples):8.1f} {max(peer.samples):8.1f}")
        print()
        for other in (base, proxy):
            ratio = median["postern"] / median[other.name]
            by_round = [a / b for a, b in zip(ours.samples, other.samples)]
            goal = GOALS[other.name]
            held = "held" if ratio <= goal else "MISSED"
            print(f"  postern / {other.name:14} {ratio:6.3f}  (by round {min(by_round):.3f} to {max(by_round):.3f})  goal {goal}: {held}")
        by_round = [a / b for a, b in zip(with_ledger.samples, ours.samples)]
        ratio = median["postern-ledger"] / median["postern"]
        print(f"  postern-ledger / postern {ratio:5.3f}  (by round {min(by_round):.3f} to {max(by_round):.3f})")
        for name, values in rings.items():
            if values:
                print(f"  {name} a message: {statistics.median(values):.2f}")
        print(f"\nResident memory for {IDLE} idle connections, goal under {GOALS['idle_mib']:.0f} MiB")
        for label, before, greeted, helloed in idles:
            held = "held" if max(greeted, helloed) - before < GOALS["idle_mib"] * 1024 else "MISSED"
            print(f"  {label:22} {before} KiB before, +{(greeted - before) / 1024:.2f} MiB greeted,"
                  f" +{(helloed - before) / 1024:.2f} MiB after EHLO: {held}")
    finally:
        for peer in reversed(started):
            peer.end()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
