"""A Postfix of its own below a folder, on loopback. perf/peers.py makes its peer with this too."""

import contextlib
import os
import pwd
import re
import shutil
import time

from harness import HOST, expect, free_port, program, run, running, tail, wait_for, wait_until_ready

# No chroot, and nothing that the users of this module do not want. A service of settings of its
# own may be added: see `write`.
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
{options}
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
tlsmgr   unix  - - n 1000? 1 tlsmgr
smtp     unix  - - n -   - smtp
lmtp     unix  - - n -   - lmtp
relay    unix  - - n -   - smtp
error    unix  - - n -   - error
retry    unix  - - n -   - error
discard  unix  - - n -   - discard
local    unix  - n n -   - local
virtual  unix  - n n -   - virtual
anvil    unix  - - n -   1 anvil
scache   unix  - - n -   1 scache
showq    unix  n - n -   - showq
postlog  unix-dgram n - n - 1 postlogd
"""

MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_host_lookup = native
lmtp_host_lookup = native
alias_maps =
alias_database =
"""


def write(folder, port, settings, options=(), services=""):
    """Makes the folders and the configuration of an instance; returns where the latter is.

    `settings` are lines of main.cf, `options` settings of the one smtpd, and `services` more lines
    of master.cf.
    """
    etc = folder / "etc"
    for made in (etc, folder / "queue", folder / "data"):
        made.mkdir(parents=True)
    shutil.chown(folder / "data", "postfix", "postfix")
    (etc / "main.cf").write_text(MAIN.format(folder=folder) + settings)
    lines = "\n".join(f"    -o {option}" for option in options)
    (etc / "master.cf").write_text(MASTER.format(port=port, options=lines) + services)
    for file in etc.iterdir():
        settle(file)
    checked = run([program("postfix"), "-c", etc, "check"])
    expect(checked.returncode == 0, f"postfix check: {checked.stdout}")
    return etc


def settle(file):
    """Postfix waits until a file is some seconds old, for fear that it is still being written."""
    past = time.time() - 60
    os.utime(file, (past, past))


def master(etc):
    """The command of the one process that starts and ends all others; it stays in front."""
    found = run([program("postconf"), "-h", "-c", etc, "daemon_directory"])
    return [found.stdout.splitlines()[-1] + "/master", "-c", str(etc), "-d"]


# ---- for the cases ----------------------------------------------------------------------------


# Notices about bounces go to the sender, whom nobody serves: they are thrown away.
CASE_MAIN = """
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
myhostname = postfix.example.com
mydestination =
mynetworks = 127.0.0.0/8
smtputf8_enable = yes
default_transport = discard
local_transport = discard
"""


class Postfix:
    """An instance at work."""

    def __init__(self, folder, port):
        self.folder, self.port, self.log = folder, port, folder / "maillog"

    def logged(self, pattern):
        """The first match of a pattern in the log, once there is one."""

        def probe():
            text = self.log.read_text(errors="replace") if self.log.exists() else ""
            return re.search(pattern, text)

        return wait_for(lambda: self.missing(pattern), probe)

    def logged_after_retries(self, pattern):
        """The same, while what was put off is tried again and again. Once is not enough: Postfix
        passes over a message that it is still at work on, and comes back to it after minutes."""

        def probe():
            flushed = run([program("postqueue"), "-c", self.folder / "etc", "-f"])
            expect(flushed.returncode == 0, f"postqueue -f: {flushed.stdout}")
            return re.search(pattern, self.log.read_text(errors="replace"))

        return wait_for(lambda: self.missing(pattern), probe)

    def missing(self, pattern):
        return f"{pattern!r} in the log of Postfix, which ends with\n{tail(self.log)}\n"

    def status_of(self, name):
        """The line in which Postfix says what became of a recipient."""
        return self.logged(rf".*to=<{re.escape(name)}@example\.net>.*status=.*").group(0)


@contextlib.contextmanager
def postfix(bench, settings="", options=(), services=""):
    """An instance with its log; what it is to do is in `settings`, as for `write`."""
    folder = bench.folder("postfix")
    instance = Postfix(folder, free_port())
    main = CASE_MAIN.format(folder=folder) + settings
    etc = write(folder, instance.port, main, options, services)
    output = folder / "output"
    with running(master(etc), output) as process:
        wait_until_ready(process, (HOST, instance.port), instance.log)
        yield instance


def relay_by(transport):
    """Settings with which the mail of example.net goes on: "lmtp:inet:127.0.0.1:24" say."""
    return f"relay_domains = example.net\nrelay_transport = {transport}\n"


def mailboxes(bench, names):
    """Settings with which mail for these names is delivered into Maildirs, and their folder."""
    mail = pwd.getpwnam("mail")
    folder = bench.folder("virtual")
    shutil.chown(folder, mail.pw_uid, mail.pw_gid)
    maps = folder.with_suffix(".map")
    maps.write_text("".join(f"{name}@example.net {name}/\n" for name in names))
    settle(maps)
    settings = (
        "virtual_mailbox_domains = example.net\n"
        f"virtual_mailbox_base = {folder}\nvirtual_mailbox_maps = texthash:{maps}\n"
        f"virtual_uid_maps = static:{mail.pw_uid}\nvirtual_gid_maps = static:{mail.pw_gid}\n"
        "virtual_minimum_uid = 1\n"
    )
    return settings, folder
