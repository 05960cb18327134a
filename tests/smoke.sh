#!/usr/bin/env bash
# What the README promises: the embedded default takes mail from swaks and from Python's smtplib,
# refuses the test line for spam, quarantines it for those who want that, answers the admin port,
# and ends on SIGTERM. Usage: tests/smoke.sh PATH-OF-POSTERN
set -euo pipefail
postern=$(realpath "$1")
folder=$(mktemp -d)
cd "$folder"
"$postern" serve > log.jsonl 2> said.txt &
server=$!
trap 'kill "$server" 2> /dev/null || true; rm -rf "$folder"' EXIT

fail() { echo "smoke: $*"; cat said.txt log.jsonl; exit 1; }
until_true() { # until_true SECONDS COMMAND...: tries the command until it holds
  local deadline=$((SECONDS + $1)); shift
  until "$@" 2> /dev/null; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.05
  done
}

until_true 10 curl -sf http://127.0.0.1:9925/readyz > /dev/null || fail "not ready"
gtube='XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X'

swaks --server 127.0.0.1:2525 --to you@example.net > swaks.txt || fail "swaks was refused"
grep -rqs "^Received: from" postern-data/mail/example.net/you/new || fail "no mail for you"
if swaks --server 127.0.0.1:2525 --to you@example.net --body "$gtube" > spam.txt; then
  fail "spam was taken"
fi
grep -q '550 5.7.1' spam.txt || fail "spam was not refused with 550 5.7.1"
swaks --server 127.0.0.1:2525 --to lax1@example.net --body "$gtube" > lax.txt || fail "lax refused"
grep -rqs "^X-Spam-Flag: YES" postern-data/mail/example.net/lax1/new || fail "no mark for lax1"
swaks --server 127.0.0.1:2525 --to quar1@example.net --body "$gtube" > quar.txt || fail "quar refused"
[ -n "$(ls postern-data/quarantine/example.net/quar1/new)" ] || fail "nothing in quarantine"

python3 - <<'PY' || fail "smtplib"
import pathlib, smtplib
body = "Subject: dots\r\n\r\n.one\r\n..two\r\nend\r\n"
with smtplib.SMTP("127.0.0.1", 2525) as client:
    assert client.sendmail("a@client.example", ["b@example.net", "c@localhost"], body) == {}
for place in ("example.net/b", "localhost/c"):
    (file,) = pathlib.Path("postern-data/mail", place, "new").iterdir()
    assert file.read_text().endswith("Subject: dots\n\n.one\n..two\nend\n"), file.read_text()
with smtplib.LMTP("127.0.0.1", 2424) as client:
    client.ehlo_or_helo_if_needed()
PY

scrape() { curl -sf http://127.0.0.1:9925/metrics; }
[ "$(scrape | awk '$1 == "postern_scans_total" { print $2 }')" = 5 ] || fail "not 5 scans"
[ "$(scrape | awk '$1 == "postern_ring_rescued_total" { print $2 }')" = 0 ] || fail "rescued"

printf 'hostname = "x"\n[listen.mx]\naddres = "127.0.0.1:1"\nprotocol = "smtp"\n' > bad.toml
if "$postern" check bad.toml 2> bad.txt; then fail "a bad configuration passed"; fi
grep -q 'bad.toml:3:1' bad.txt || { cat bad.txt; fail "no place in the fault"; }

kill -TERM "$server"
until_true 40 sh -c "! kill -0 $server" || fail "does not end on SIGTERM"
wait "$server" || fail "ended with an error"
[ "$(wc -l < log.jsonl)" = 5 ] || fail "not 5 log lines"
echo "smoke: all well"
