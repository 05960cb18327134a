"""A Cyrus lmtpd of its own, on loopback. Its mailboxes are made by the first message for them."""

import contextlib
import shutil
from pathlib import Path

from harness import HOST, expect, free_port, running, wait_until_ready

# Debian keeps the programs that are not for users in a folder of their own.
MASTER = Path("/usr/lib/cyrus/bin/master")

IMAPD = """
configdirectory: {folder}/state
defaultpartition: default
partition-default: {folder}/spool
proc_path: {folder}/run/proc
mboxname_lockpath: {folder}/run/lock
duplicate_db_path: {folder}/run/deliver.db
sievedir: {folder}/sieve
lmtpsocket: {folder}/run/lmtp
idlesocket: {folder}/run/idle
notifysocket: {folder}/run/notify
servername: cyrus.example.com
admins: cyrus
virtdomains: userid
defaultdomain: example.net
unixhierarchysep: yes
mailbox_legacy_dirs: yes
hashimapspool: no
duplicatesuppression: no
autocreate_quota: 0
autocreate_post: yes
"""

# `-a`: whoever connects is taken for the mail server of this host.
SERVICES = """
START {{
  recover cmd="/usr/lib/cyrus/bin/ctl_cyrusdb -C {folder}/imapd.conf -r"
}}
SERVICES {{
  lmtp cmd="/usr/lib/cyrus/bin/lmtpd -C {folder}/imapd.conf -a" listen="127.0.0.1:{port}" prefork=1
}}
EVENTS {{
}}
"""


class Cyrus:
    """An instance at work."""

    def __init__(self, folder, port):
        self.folder, self.port = folder, port

    def messages(self, name):
        """The files of the messages of a mailbox."""
        return sorted((self.folder / "spool/user" / name).glob("[0-9]*."))


@contextlib.contextmanager
def cyrus(bench):
    expect(MASTER.exists(), "cyrus-imapd is not installed (tests/interop/install.sh does that)")
    folder = bench.folder("cyrus")
    instance = Cyrus(folder, free_port())
    for name in ("state", "spool", "run", "sieve"):
        (folder / name).mkdir()
        shutil.chown(folder / name, "cyrus", "mail")
    (folder / "imapd.conf").write_text(IMAPD.format(folder=folder))
    (folder / "cyrus.conf").write_text(SERVICES.format(folder=folder, port=instance.port))
    arguments = [MASTER, "-C", folder / "imapd.conf", "-M", folder / "cyrus.conf"]
    output = folder / "output"
    with running([*arguments, "-p", folder / "run/pid"], output) as process:
        wait_until_ready(process, (HOST, instance.port), output)
        yield instance
