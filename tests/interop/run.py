#!/usr/bin/env python3
"""Runs postern between real mail programs: swaks, smtplib, Postfix and Dovecot.

    tests/interop/run.py [PATH-OF-POSTERN]        (or POSTERN=...; default target/release/postern)

To be run as root: Postfix and Dovecot start only so. Each case has its own servers, on free ports
of 127.0.0.1 and with all their files in one temporary folder. A missing program is a failure.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
SENDER = "sender@example.com"
WAIT_SECONDS = 15.0
POLL_SECONDS = 0.02
CASES = []


class Failed(Exception):
    """What a case has found wrong."""


def case(name):
    def register(function):
        CASES.append((name, function))
        return function

    return register


def expect(holds, what):
    if not holds:
        raise Failed(what)


def wait_for(what, probe, seconds=WAIT_SECONDS):
    """Polls until the probe says something true, and returns that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(POLL_SECONDS)
    raise Failed(f"no {what} within {seconds:.0f} s")


# ---- processes --------------------------------------------------------------------------------


def program(name):
    # The administrator's programs are often not in the path of a plain shell.
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    expect(path, f"{name} is not installed")
    return path


GIVEN_PORTS = set()


def free_port():
    """A port that nobody listens on, and never the same one twice in a run."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        if port not in GIVEN_PORTS:
            GIVEN_PORTS.add(port)
            return port


def tail(path):
    text = path.read_text(errors="replace") if path.exists() else ""
    return "\n".join(text.splitlines()[-15:])


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


def listens(address):
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as client:
        try:
            client.connect(address)
        except OSError:
            return False
        # The greeting is awaited: a server that has only bound its port is not ready.
        client.settimeout(WAIT_SECONDS)
        return client.recv(512).startswith(b"220")


def wait_until_ready(process, address, output):
    def probe():
        ended = process.poll() is not None
        expect(not ended, f"{process.args[0]} ended at once:\n{tail(output)}")
        return listens(address)

    wait_for(f"greeting from {address}", probe)


# ---- postern ----------------------------------------------------------------------------------


CONFIGURATION = """
hostname = "edge.example.net"
state    = "{folder}"
log      = "file:log"

[listen.mx]
address  = "127.0.0.1:{smtp}"
protocol = "smtp"
mixed    = "split"

[listen.filter]
address  = "127.0.0.1:{lmtp}"
protocol = "lmtp"

[route.mail]
to = "{to}"

[domain."example.net"]
route      = "mail"
recipients = "any"
class      = "standard"
exceptions = {{ "lax*" = "lax" }}

[class.standard]
decide = [{{ tag = "spam", then = "reject", text = "message looks like spam" }}]

[class.lax]
decide = [{{ tag = "spam", then = "accept", add = "X-Spam-Flag: YES" }}]

[rule.gtube]
literals = ["{gtube}"]
in       = ["raw", "text"]
tag      = "spam"
score    = 1000.0
"""


class Postern:
    def __init__(self, folder, smtp, lmtp):
        self.folder, self.smtp, self.lmtp = folder, smtp, lmtp

    def mailbox(self, name):
        return self.folder / "mail/example.net" / name / "new"


@contextlib.contextmanager
def postern(bench, to="maildir:mail"):
    """The gateway with one route."""
    folder = bench.folder("postern")
    gateway = Postern(folder, free_port(), free_port())
    config = folder / "postern.toml"
    config.write_text(CONFIGURATION.format(
        folder=folder, smtp=gateway.smtp, lmtp=gateway.lmtp, to=to, gtube=GTUBE))
    output = folder / "output"
    with running([bench.postern, "serve", "--config", config], output) as process:
        wait_until_ready(process, ("127.0.0.1", gateway.smtp), output)
        wait_until_ready(process, ("127.0.0.1", gateway.lmtp), output)
        yield gateway
        expect(process.poll() is None, f"postern ended by itself:\n{tail(output)}")
        end(process)
        expect(process.returncode == 0, f"postern ended with {process.returncode}")


@contextlib.contextmanager
def sink(bench, protocol, answers=()):
    """The next hop for tests; yields its port and the folder of its messages."""
    folder = bench.folder("sink")
    kept = folder / "kept"
    kept.mkdir()
    port = free_port()
    arguments = [bench.postern, "sink", f"127.0.0.1:{port}", "--keep", kept]
    arguments += ["--lmtp"] if protocol == "lmtp" else []
    for answer in answers:
        arguments += ["--answer", answer]
    output = folder / "output"
    with running(arguments, output) as process:
        wait_until_ready(process, ("127.0.0.1", port), output)
        yield port, kept


# ---- messages ---------------------------------------------------------------------------------


def message(body, subject="interop"):
    """A whole message with CRLF; complete, so that no program on the way has to mend it."""
    header = (
        f"From: <{SENDER}>\r\nTo: <undisclosed@example.net>\r\nSubject: {subject}\r\n"
        "Date: Mon, 01 Jan 2024 12:00:00 +0000\r\nMessage-ID: <interop@example.com>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n\r\n"
    )
    return header.encode() + body


PLAIN = message(b"a line\r\nand another\r\n")
SPAM = message(f"{GTUBE}\r\n".encode())
DOTS = message(b".\r\n..\r\n.begins\r\nends.\r\n\r\n...\r\n.\r\n")
EIGHT_BIT = message("Grüße, 世界\r\n".encode() + bytes(range(0x80, 0x100)) + b"\r\n")


def large():
    line = b".%06d " + b"0123456789abcdef" * 4 + b"\r\n"
    lines, octets = [], 0
    while octets < 1 << 20:
        lines.append(line % len(lines))
        octets += len(lines[-1])
    return message(b"".join(lines))


KINDS = {"plain": PLAIN, "dots": DOTS, "8-bit": EIGHT_BIT, "1 MiB": large()}


def send(port, recipients, content):
    """By smtplib; what it returns are the recipients refused before the content."""
    with smtplib.SMTP("127.0.0.1", port, timeout=WAIT_SECONDS) as client:
        client.ehlo()
        options = ["BODY=8BITMIME"] if client.has_extn("8bitmime") else []
        return client.sendmail(SENDER, recipients, content, mail_options=options)


def refused_code(port, recipient, content):
    """The code by which a message for one recipient is refused, at RCPT or at the end."""
    try:
        send(port, [recipient], content)
    except smtplib.SMTPRecipientsRefused as refusal:
        return refusal.recipients[recipient][0]
    except smtplib.SMTPResponseException as refusal:
        return refusal.smtp_code
    raise Failed(f"{recipient} was accepted")


def only_file(folder):
    def probe():
        return sorted(folder.iterdir()) if folder.is_dir() else []

    files = wait_for(f"file in {folder}", probe)
    expect(len(files) == 1, f"{len(files)} files in {folder}")
    return files[0]


def expect_same(path, sent, wanted=b"\nReceived: "):
    """The file is what was sent, with LF, and nothing but header lines on top."""
    sent = sent.replace(b"\r\n", b"\n")

    # Not every next hop writes beside the folder and renames: the file may still grow.
    wait_for(f"end of the message in {path}", lambda: path.stat().st_size >= len(sent))
    got = path.read_bytes().replace(b"\r\n", b"\n")
    expect(got.endswith(sent), f"{path} is not what was sent: {difference(got, sent)}")
    added = got[: len(got) - len(sent)]
    header_lines = all(re.match(rb"[!-9;-~]+:|[ \t]", line) for line in added.splitlines())
    expect(header_lines, f"not only header lines on top: {added!r}")
    expect(wanted in b"\n" + added, f"{wanted!r} is not among the added lines: {added!r}")
    return added


def difference(got, sent):
    ours = got[got.find(b"From: <"):]
    unlike = (at for at, (a, b) in enumerate(zip(ours, sent)) if a != b)
    place = next(unlike, min(len(ours), len(sent)))
    return f"from octet {place}: got {ours[place:place + 60]!r}, sent {sent[place:place + 60]!r}"


# ---- Postfix ----------------------------------------------------------------------------------


# No chroot and nothing that the cases do not use; `relay` and `virtual` deliver.
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup   unix  n - n 60  1 pickup
cleanup  unix  n - n -   0 cleanup
qmgr     unix  n - n 300 1 qmgr
rewrite  unix  - - n -   - trivial-rewrite
bounce   unix  - - n -   0 bounce
defer    unix  - - n -   0 bounce
trace    unix  - - n -   0 bounce
verify   unix  - - n -   1 verify
flush    unix  n - n 1000? 0 flush
proxymap unix  - - n -   - proxymap
smtp     unix  - - n -   - smtp
lmtp     unix  - - n -   - lmtp
error    unix  - - n -   - error
retry    unix  - - n -   - error
discard  unix  - - n -   - discard
virtual  unix  - n n -   - virtual
anvil    unix  - - n -   1 anvil
scache   unix  - - n -   1 scache
showq    unix  n - n -   - showq
postlog  unix-dgram n - n - 1 postlogd
"""

# Notices about bounces go to the sender, whom nobody serves: they are thrown away.
MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
myhostname = postfix.example.com
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_host_lookup = native
lmtp_host_lookup = native
smtputf8_enable = yes
alias_maps =
default_transport = discard
local_transport = discard
"""


@contextlib.contextmanager
def postfix(bench, settings):
    """A Postfix of its own; yields its port and its log."""
    folder = bench.folder("postfix")
    port = free_port()
    for name in ("etc", "queue", "data"):
        (folder / name).mkdir()
    os.chown(folder / "data", pwd.getpwnam("postfix").pw_uid, -1)
    etc = folder / "etc"
    (etc / "main.cf").write_text(MAIN.format(folder=folder) + settings)
    (etc / "master.cf").write_text(MASTER.format(port=port))
    log, output = folder / "maillog", folder / "output"
    with running([program("postfix"), "-c", etc, "start-fg"], output) as process:
        try:
            wait_until_ready(process, ("127.0.0.1", port), output)
            yield port, log
        finally:
            end_postfix(folder)


def end_postfix(folder):
    """Ends the master by the id that it has written down; it ends its children itself."""
    with contextlib.suppress(OSError, ValueError):
        os.kill(int((folder / "queue/pid/master.pid").read_text()), signal.SIGTERM)


def status_of(log, recipient):
    """The line in which Postfix says what became of a recipient, once it is there."""
    pattern = re.compile(rf".*to=<{re.escape(recipient)}>.*status=.*")

    def probe():
        text = log.read_text(errors="replace") if log.exists() else ""
        return pattern.search(text)

    return wait_for(f"status of {recipient} in the log of Postfix", probe).group(0)


# ---- Dovecot ----------------------------------------------------------------------------------


DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = lmtp
listen = 127.0.0.1
ssl = no
mail_location = maildir:{folder}/mail/%n
first_valid_uid = 1
auth_username_format = %n
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
  unix_listener lmtp {{
    mode = 0666
  }}
}}
"""


@contextlib.contextmanager
def dovecot(bench, users):
    """A Dovecot of its own with LMTP only; yields its folder and its port."""
    folder = bench.folder("dovecot")
    port = free_port()
    mail = pwd.getpwnam("mail")
    (folder / "mail").mkdir()
    os.chown(folder / "mail", mail.pw_uid, mail.pw_gid)
    line = "{}:{{PLAIN}}x:" + f"{mail.pw_uid}:{mail.pw_gid}::{folder}/mail/" + "{}::\n"
    (folder / "users").write_text("".join(line.format(user, user) for user in users))
    config, output = folder / "dovecot.conf", folder / "output"
    config.write_text(DOVECOT.format(folder=folder, port=port))
    with running([program("dovecot"), "-c", config, "-F"], output) as process:
        wait_until_ready(process, ("127.0.0.1", port), output)
        yield folder, port


# ---- cases: clients ---------------------------------------------------------------------------


def swaks(port, recipient, body):
    arguments = [program("swaks"), "--server", "127.0.0.1", "--port", port, "--from", SENDER,
                 "--to", recipient, "--body", body, "--timeout", "10"]
    return subprocess.run([str(argument) for argument in arguments], capture_output=True,
                          text=True, timeout=30, check=False)


@case("swaks: a message is accepted and lies in the Maildir")
def swaks_accepted(bench):
    with postern(bench) as gateway:
        done = swaks(gateway.smtp, "ok@example.net", "first\n.second\n")
        expect(done.returncode == 0, f"swaks ended with {done.returncode}:\n{done.stdout}")
        got = only_file(gateway.mailbox("ok")).read_bytes()
        expect(b"\n\nfirst\n.second\n" in got, f"the body is not in the file: {got!r}")


@case("swaks: GTUBE is refused with 550 and not delivered")
def swaks_refused(bench):
    with postern(bench) as gateway:
        done = swaks(gateway.smtp, "ok@example.net", GTUBE)
        expect(done.returncode == 26, f"swaks ended with {done.returncode}:\n{done.stdout}")
        expect(re.search(r"^<\*\* 550 5\.", done.stdout, re.M), f"no 550 in:\n{done.stdout}")
        expect(not gateway.mailbox("ok").exists(), "the refused message was delivered")


@case("smtplib: GTUBE is refused with 550, and taken for class lax with a header line more")
def smtplib_classes(bench):
    with postern(bench) as gateway:
        code = refused_code(gateway.smtp, "ok@example.net", SPAM)
        expect(code == 550, f"refused with {code}")
        send(gateway.smtp, ["lax@example.net"], SPAM)
        expect_same(only_file(gateway.mailbox("lax")), SPAM, b"\nX-Spam-Flag: YES\n")


@case("smtplib: several recipients get one file each")
def smtplib_recipients(bench):
    names = ["a", "b", "c", "d"]
    with postern(bench) as gateway:
        refused = send(gateway.smtp, [f"{name}@example.net" for name in names], PLAIN)
        expect(not refused, f"refused: {refused}")
        for name in names:
            added = expect_same(only_file(gateway.mailbox(name)), PLAIN)
            to = f"Delivered-To: {name}@example.net".encode()
            expect(to in added, f"{to!r} is not in {added!r}")


@case("smtplib: a recipient of an unlike class is told to come later, the first is served")
def smtplib_split(bench):
    with postern(bench) as gateway:
        refused = send(gateway.smtp, ["lax@example.net", "ok@example.net"], SPAM)
        codes = {name: code for name, (code, _) in refused.items()}
        expect(list(codes) == ["ok@example.net"], f"refused: {refused}")
        expect(codes["ok@example.net"] // 100 == 4, f"refused for good: {refused}")
        expect_same(only_file(gateway.mailbox("lax")), SPAM)


@case("smtplib: dots, 8-bit content and 1 MiB arrive octet for octet")
def smtplib_content(bench):
    with postern(bench) as gateway:
        expect_kinds(gateway, lambda number: only_file(gateway.mailbox(f"kind{number}")))


def expect_kinds(gateway, find):
    """Sends each kind of message to a recipient of its own and compares the file."""
    for number, (kind, content) in enumerate(KINDS.items()):
        try:
            send(gateway.smtp, [f"kind{number}@example.net"], content)
            expect_same(find(number), content)
        except (Failed, smtplib.SMTPException) as fault:
            raise Failed(f"{kind}: {fault}") from fault


KIND_NAMES = [f"kind{number}" for number in range(len(KINDS))]


# ---- cases: the sink --------------------------------------------------------------------------


def sink_keeps(bench, protocol):
    with sink(bench, protocol) as (port, kept):
        with postern(bench, f"{protocol}://127.0.0.1:{port}") as gateway:
            def newest(number):
                def probe():
                    return sorted(kept.iterdir(), key=by_number)[number:]

                return wait_for("kept message", probe)[0]

            expect_kinds(gateway, newest)


def by_number(path):
    return int(path.stem)


@case("sink by LMTP: all kinds of messages arrive octet for octet")
def sink_lmtp(bench):
    sink_keeps(bench, "lmtp")


@case("sink by SMTP: all kinds of messages arrive octet for octet")
def sink_smtp(bench):
    sink_keeps(bench, "smtp")


def lmtp_replies(port, recipients, content):
    """One LMTP transaction; the reply for each recipient after the content (RFC 2033 4.2)."""
    with smtplib.LMTP("127.0.0.1", port) as client:
        client.ehlo()
        client.mail(SENDER)
        for recipient in recipients:
            code, text = client.rcpt(recipient)
            expect(code == 250, f"RCPT {recipient}: {code} {text}")
        code, text = client.docmd("DATA")
        expect(code == 354, f"DATA: {code} {text}")
        stuffed = re.sub(rb"(?m)^\.", b"..", content)
        client.send(stuffed + b".\r\n")
        return [client.getreply()[0] for _ in recipients]


@case("sink by LMTP: each recipient gets the reply of its own")
def sink_replies(bench):
    answers = ["full=end:452 4.2.2 mailbox full", "gone=end:550 5.1.1 no such mailbox"]
    recipients = [f"{name}@example.net" for name in ("a", "full", "gone", "b")]
    with sink(bench, "lmtp", answers) as (port, kept):
        with postern(bench, f"lmtp://127.0.0.1:{port}") as gateway:
            codes = lmtp_replies(gateway.lmtp, recipients, DOTS)
            expect(codes == [250, 452, 550, 250], f"the replies are {codes}")
            wait_for("kept message", lambda: list(kept.iterdir()))


# ---- cases: Postfix and Dovecot ---------------------------------------------------------------


def relay_by(lmtp):
    return f"relay_domains = example.net\nrelay_transport = lmtp:inet:127.0.0.1:{lmtp}\n"


@case("Postfix before postern by LMTP: a status for each recipient")
def postfix_before(bench):
    with postern(bench) as gateway, postfix(bench, relay_by(gateway.lmtp)) as (port, log):
        send(port, ["lax1@example.net", "ok1@example.net"], SPAM)
        taken, refused = (status_of(log, f"{name}@example.net") for name in ("lax1", "ok1"))
        expect("status=sent" in taken, taken)
        expect("status=bounced" in refused and " 550 5." in refused, refused)
        expect_same(only_file(gateway.mailbox("lax1")), SPAM, b"\nX-Spam-Flag: YES\n")
        expect(not gateway.mailbox("ok1").exists(), "the refused message was delivered")


@case("Postfix before postern by LMTP: all kinds of messages arrive octet for octet")
def postfix_before_content(bench):
    with postern(bench) as gateway:
        with postfix(bench, relay_by(gateway.lmtp)) as (port, _):
            for name, content in zip(KIND_NAMES, KINDS.values()):
                send(port, [f"{name}@example.net"], content)
            for name, content in zip(KIND_NAMES, KINDS.values()):
                expect_same(only_file(gateway.mailbox(name)), content)


@case("Postfix before postern by SMTP: unlike classes are settled in two goes")
def postfix_before_smtp(bench):
    with postern(bench) as gateway:
        settings = (
            f"relay_domains = example.net\nrelay_transport = smtp:[127.0.0.1]:{gateway.smtp}\n"
            # What is told to come later is tried again at once, not after five minutes.
            "minimal_backoff_time = 1s\nqueue_run_delay = 1s\n"
        )
        with postfix(bench, settings) as (port, log):
            send(port, ["lax1@example.net", "ok1@example.net"], SPAM)
            expect_same(only_file(gateway.mailbox("lax1")), SPAM, b"\nX-Spam-Flag: YES\n")
            line = wait_for("bounce of ok1", lambda: re.search(
                r"to=<ok1@example\.net>.*status=bounced.*", log.read_text())).group(0)
            expect(" 550 5." in line, line)


def behind_dovecot(bench, target):
    with dovecot(bench, KIND_NAMES) as (folder, port):
        with postern(bench, target(folder, port)) as gateway:
            expect_kinds(gateway, lambda number: only_file(folder / f"mail/kind{number}/new"))
            code = refused_code(gateway.smtp, "nobody@example.net", PLAIN)
            expect(code == 550, f"an unknown mailbox is refused with {code}")


@case("Dovecot behind postern, LMTP by TCP: all kinds arrive, unknown mailboxes are refused")
def dovecot_tcp(bench):
    behind_dovecot(bench, lambda _, port: f"lmtp://127.0.0.1:{port}")


@case("Dovecot behind postern, LMTP by a unix socket: the same")
def dovecot_unix(bench):
    behind_dovecot(bench, lambda folder, _: f"lmtp:{folder}/run/lmtp")


@case("Postfix behind postern by SMTP: all kinds arrive, unknown mailboxes are refused")
def postfix_behind(bench):
    mail = pwd.getpwnam("mail")
    folder = bench.folder("virtual")
    os.chown(folder, mail.pw_uid, mail.pw_gid)
    maps = folder.with_suffix(".map")
    maps.write_text("".join(f"{name}@example.net {name}/\n" for name in KIND_NAMES))
    settings = (
        "virtual_mailbox_domains = example.net\n"
        f"virtual_mailbox_base = {folder}\nvirtual_mailbox_maps = texthash:{maps}\n"
        f"virtual_uid_maps = static:{mail.pw_uid}\nvirtual_gid_maps = static:{mail.pw_gid}\n"
        "virtual_minimum_uid = 1\n"
    )
    with postfix(bench, settings) as (port, _):
        with postern(bench, f"smtp://127.0.0.1:{port}") as gateway:
            expect_kinds(gateway, lambda number: only_file(folder / f"kind{number}/new"))
            code = refused_code(gateway.smtp, "nobody@example.net", PLAIN)
            expect(code == 550, f"an unknown mailbox is refused with {code}")


# ---- the run ----------------------------------------------------------------------------------


class Bench:
    """What the cases share: the program under test and a place for files."""

    def __init__(self, postern_path, folder):
        self.postern, self.root, self.count = postern_path, folder, 0

    def folder(self, name):
        self.count += 1
        folder = self.root / f"{self.count}-{name}"
        folder.mkdir(mode=0o755)
        return folder


def run(bench, name, function):
    began = time.monotonic()
    try:
        function(bench)
        fault = None
    except Exception as error:  # any fault fails its case, and the others still run
        fault = error if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - began
    print(f"{'FAIL' if fault else 'PASS'}  {name} ({seconds:.1f} s)", flush=True)
    if fault:
        print("      " + str(fault).replace("\n", "\n      "), flush=True)
    return fault is None


def main():
    default = os.environ.get("POSTERN", "target/release/postern")
    given = sys.argv[1] if len(sys.argv) > 1 else default
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="postern-interop-") as root:
        # Postfix and Dovecot reach their files as users of their own.
        os.chmod(root, 0o755)
        bench = Bench(Path(given).resolve(), Path(root))
        passed = sum(run(bench, name, function) for name, function in CASES)
    failed = len(CASES) - passed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
