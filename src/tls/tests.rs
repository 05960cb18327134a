//! Two streams back to back, in memory.

use super::*;
use crate::limits::TLS_RECORDS_WITHOUT_PROGRESS;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_RSA_SHA256,
};
use rustls::version::{TLS12, TLS13};

/// 2026-11-24, within the period of all certificates that are made here.
const TODAY: i64 = 1_795_500_000;

// ---- certificates ---------------------------------------------------------------------------

/// A certificate and its key as PEM.
struct Made {
    certificate: String,
    key: String,
    digest: [u8; 32],
}

impl Made {
    fn identity(&self) -> Identity<'_> {
        Identity {
            certificates: Pem { path: "cert.pem", octets: self.certificate.as_bytes() },
            key: Pem { path: "key.pem", octets: self.key.as_bytes() },
        }
    }
}

fn self_signed(names: &[&str]) -> Made {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let digest = key_digest(certificate.der()).unwrap();
    Made { certificate: certificate.pem(), key: key.serialize_pem(), digest }
}

/// An authority, and what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
        Authority { issuer: issuer.unwrap() }
    }

    fn signs(&self, name: &str) -> Made {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let digest = key_digest(certificate.der()).unwrap();
        Made { certificate: certificate.pem(), key: key.serialize_pem(), digest }
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }
}

fn bundle(text: &str) -> Pem<'_> {
    Pem { path: "ca.pem", octets: text.as_bytes() }
}

fn server(identities: &[&Made]) -> Arc<ServerTls> {
    let identities: Vec<Identity<'_>> = identities.iter().map(|made| made.identity()).collect();
    Arc::new(ServerTls::from_pem(&identities, None, TODAY).unwrap())
}

fn client(name: &str, trust: HopTrust<'_>) -> ClientTls {
    ClientTls::from_pem(name, trust, None, TODAY).unwrap()
}

// ---- a connection ---------------------------------------------------------------------------

struct Pair {
    client: TlsStream,
    server: TlsStream,
    /// What each has got in plain.
    at_client: Vec<u8>,
    at_server: Vec<u8>,
}

impl Pair {
    fn new(client: &ClientTls, server: &Arc<ServerTls>) -> Pair {
        Pair {
            client: TlsStream::client(client).unwrap(),
            server: TlsStream::server(server).unwrap(),
            at_client: Vec::new(),
            at_server: Vec::new(),
        }
    }

    /// Carries octets both ways in pieces of at most `piece`, until nothing is left to carry.
    fn carry(&mut self, piece: usize) -> Result<(), TlsFault> {
        loop {
            let (up, down) = (self.client.take_sealed(), self.server.take_sealed());
            if up.is_empty() && down.is_empty() {
                return Ok(());
            }
            // An alert of one side reaches the other all the same.
            let up = deliver(&mut self.server, &up, piece, &mut self.at_server);
            let down = deliver(&mut self.client, &down, piece, &mut self.at_client);
            up.and(down)?;
        }
    }

    fn secured(client: &ClientTls, server: &Arc<ServerTls>) -> Pair {
        let mut pair = Pair::new(client, server);
        pair.carry(usize::MAX).unwrap();
        assert!(pair.client.facts().is_some() && pair.server.facts().is_some());
        pair
    }

    /// Both directions carry octets.
    fn talk(&mut self, piece: usize) {
        let long: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        for said in [&b"EHLO client.example\r\n"[..], b"x", &long] {
            (self.at_client, self.at_server) = (Vec::new(), Vec::new());
            self.client.send(said);
            self.server.send(said);
            self.carry(piece).unwrap();
            assert!(self.at_server == said && self.at_client == said);
        }
    }
}

fn deliver(
    to: &mut TlsStream,
    sealed: &[u8],
    piece: usize,
    plain: &mut Vec<u8>,
) -> Result<(), TlsFault> {
    sealed.chunks(piece.max(1)).try_for_each(|piece| to.receive(piece, plain))
}

// ---- handshakes -----------------------------------------------------------------------------

#[test]
fn both_versions_are_spoken_and_told_by_name() {
    let server = server(&[&self_signed(&["mx.example.net"])]);
    for (version, told, cipher) in
        [(&TLS12, "TLS1.2", "TLS_ECDHE_ECDSA_WITH_"), (&TLS13, "TLS1.3", "TLS_AES_")]
    {
        let name = "mx.example.net";
        let client = ClientTls::of_versions(&[version], name, HopTrust::Anybody, None, TODAY);
        let mut pair = Pair::secured(&client.unwrap(), &server);
        pair.talk(usize::MAX);
        let facts = pair.server.facts().unwrap();
        assert_eq!(facts.version, told);
        assert!(facts.cipher.starts_with(cipher), "{}", facts.cipher);
        assert_eq!(facts.client_key, None);
        assert_eq!(pair.client.facts(), Some(facts));
    }
}

#[test]
fn a_connection_cut_at_every_octet_is_the_same_connection() {
    let server = server(&[&self_signed(&["mx.example.net"])]);
    for version in [&TLS12, &TLS13] {
        let client =
            ClientTls::of_versions(&[version], "mx.example.net", HopTrust::Anybody, None, TODAY);
        let client = client.unwrap();
        for piece in [1, 2, 3, 5, 64, 1_000, 16_389] {
            let mut pair = Pair::new(&client, &server);
            pair.carry(piece).unwrap();
            assert!(pair.server.facts().is_some(), "pieces of {piece}");
            pair.talk(piece);
        }
        // Each place of the first flight alone, too: a cut that a second one would heal.
        let octets = TlsStream::client(&client).unwrap().take_sealed().len();
        for at in (0..octets).step_by(7) {
            let mut pair = Pair::new(&client, &server);
            let hello = pair.client.take_sealed();
            let (one, other) = hello.split_at(at.min(hello.len()));
            pair.server.receive(one, &mut Vec::new()).unwrap();
            pair.server.receive(other, &mut Vec::new()).unwrap();
            pair.carry(usize::MAX).unwrap();
            assert!(pair.server.facts().is_some(), "cut at {at}");
        }
    }
}

#[test]
fn sni_chooses_among_certificates() {
    let made = [
        self_signed(&["default.example"]),
        self_signed(&["mx.example.net", "mail.example.net"]),
        self_signed(&["*.example.org"]),
    ];
    let server = server(&made.each_ref());
    let table = [
        ("mx.example.net", 1),
        ("MAIL.example.net", 1),
        ("deep.example.org", 2),
        ("too.deep.example.org", 0),
        ("example.org", 0),
        ("elsewhere.example", 0),
        ("192.0.2.1", 0),
    ];
    for (name, expected) in table {
        let wanted = [made[expected].digest];
        Pair::secured(&client(name, HopTrust::Keys(&wanted)), &server);
    }
}

#[test]
fn a_certificate_is_chosen_whose_key_the_client_takes() {
    let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let certificate = CertificateParams::new(vec!["mx.example.net".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&rsa).unwrap();
    let digest = key_digest(certificate.der()).unwrap();
    let rsa = Made { certificate: certificate.pem(), key: rsa.serialize_pem(), digest };
    let server = server(&[&rsa, &self_signed(&["mx.example.net"])]);
    Pair::secured(&client("mx.example.net", HopTrust::Keys(&[digest])), &server);

    // A client that knows nothing of RSA gets the other one.
    let mut few = (*provider()).clone();
    few.cipher_suites.retain(|suite| iana(suite).contains("ECDSA"));
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(few))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(Arc::new(rustls::RootCertStore::empty()))
        .with_no_client_auth();
    let mut only_ecdsa = client("mx.example.net", HopTrust::Anybody);
    only_ecdsa.config = Arc::new(config);
    let mut pair = Pair::new(&only_ecdsa, &server);
    // It trusts nobody; but it has got as far as looking at a certificate of its kind.
    let fault = pair.carry(usize::MAX).unwrap_err();
    assert!(fault.to_string().contains("UnknownIssuer"), "{fault}");
}

fn iana(suite: &rustls::SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_second_connection_is_resumed() {
    let (server, other) = (
        server(&[&self_signed(&["mx.example.net"])]),
        server(&[&self_signed(&["mx.example.net"])]),
    );
    for version in [&TLS12, &TLS13] {
        let client =
            ClientTls::of_versions(&[version], "mx.example.net", HopTrust::Anybody, None, TODAY);
        let client = client.unwrap();
        for resumed in [false, true, true] {
            let mut pair = Pair::secured(&client, &server);
            assert_eq!((pair.client.is_resumed(), pair.server.is_resumed()), (resumed, resumed));
            pair.talk(usize::MAX);
        }
        // Certificates that were loaded anew have new keys for tickets: nothing breaks.
        assert!(!Pair::secured(&client, &other).server.is_resumed());
    }
}

// ---- who is who -----------------------------------------------------------------------------

#[test]
fn a_next_hop_is_taken_for_whom_it_proves_to_be() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let made = authority.signs("mx.example.net");
    let server = server(&[&made]);
    let (good, wrong) = (authority.pem(), stranger.pem());
    let keys = [made.digest];
    let table: [(&str, HopTrust<'_>, Option<&str>); 7] = [
        ("mx.example.net", HopTrust::Authorities(bundle(&good)), None),
        ("other.example", HopTrust::Authorities(bundle(&good)), Some("not valid for name")),
        ("mx.example.net", HopTrust::Authorities(bundle(&wrong)), Some("BadSignature")),
        ("anything.example", HopTrust::Keys(&keys), None),
        ("192.0.2.1", HopTrust::Keys(&keys), None),
        ("mx.example.net", HopTrust::Keys(&[[0; 32]]), Some("ApplicationVerificationFailure")),
        ("other.example", HopTrust::Anybody, None),
    ];
    for (name, trust, fault) in table {
        let mut pair = Pair::new(&client(name, trust), &server);
        let carried = pair.carry(usize::MAX).map_err(|fault| fault.to_string());
        match fault {
            None => {
                assert!(carried.is_ok() && pair.server.facts().is_some(), "{name}: {carried:?}")
            }
            Some(word) => {
                let fault = carried.unwrap_err();
                assert!(fault.contains(word), "{name}: {fault}");
                assert!(pair.client.facts().is_none());
                // The other side learns of it by an alert.
                let alert = pair.client.take_sealed();
                assert!(pair.server.receive(&alert, &mut Vec::new()).is_err());
                assert!(pair.server.facts().is_none());
            }
        }
    }
}

#[test]
fn a_client_certificate_is_an_identity_if_it_is_verified() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let made = self_signed(&["mx.example.net"]);
    let ca = authority.pem();
    let server = ServerTls::from_pem(&[made.identity()], Some(bundle(&ca)), TODAY).unwrap();
    let server = Arc::new(server);
    let (known, unknown) = (authority.signs("client.example"), stranger.signs("client.example"));
    for version in [&TLS12, &TLS13] {
        let table = [(Some(&known), Some(known.digest)), (Some(&unknown), None), (None, None)];
        for (shown, expected) in table {
            let identity = shown.map(Made::identity);
            let (name, trust) = ("mx.example.net", HopTrust::Anybody);
            let client = ClientTls::of_versions(&[version], name, trust, identity, TODAY).unwrap();
            for resumed in [false, true] {
                let pair = Pair::secured(&client, &server);
                assert_eq!(pair.server.is_resumed(), resumed);
                assert_eq!(pair.server.facts().unwrap().client_key, expected);
            }
        }
    }
}

// ---- hostile octets -------------------------------------------------------------------------

/// A stream whose handshake is done, and what its client would send next.
fn sealed_by_client(plain: &[u8]) -> (TlsStream, Vec<u8>) {
    let server = server(&[&self_signed(&["mx.example.net"])]);
    let mut pair = Pair::secured(&client("mx.example.net", HopTrust::Anybody), &server);
    pair.client.send(plain);
    let sealed = pair.client.take_sealed();
    (pair.server, sealed)
}

/// records that bring nothing are not waited for to the end of time.
#[test]
fn a_12_records_without_progress_end_the_connection() {
    let server = server(&[&self_signed(&["mx.example.net"])]);
    let hello = TlsStream::client(&client("mx.example.net", HopTrust::Anybody));
    let hello = hello.unwrap().take_sealed();
    let in_records_of = |octets: usize| -> Vec<u8> {
        let record = |piece: &[u8]| {
            [&[0x16, 3, 1, (piece.len() >> 8) as u8, piece.len() as u8], piece].concat()
        };
        hello[5..].chunks(octets).flat_map(record).collect()
    };
    let message = hello.len() - 5;
    // Just inside: a hello in as many records as may bring nothing, and one more that ends it.
    let inside = in_records_of(message.div_ceil(TLS_RECORDS_WITHOUT_PROGRESS as usize + 1));
    let mut stream = TlsStream::server(&server).unwrap();
    stream.receive(&inside, &mut Vec::new()).unwrap();
    assert!(!stream.take_sealed().is_empty(), "the hello is answered");

    let warning = [0x15u8, 3, 3, 0, 2, 1, 0];
    let table: [(&str, Vec<u8>); 4] = [
        ("one octet a record", in_records_of(1)),
        ("empty handshake records", [0x16u8, 3, 3, 0, 0].repeat(10_000)),
        ("empty records of data", [0x17u8, 3, 3, 0, 0].repeat(10_000)),
        ("warnings", warning.repeat(10_000)),
    ];
    for (name, octets) in table {
        for piece in [1, usize::MAX] {
            let mut stream = TlsStream::server(&server).unwrap();
            let mut plain = Vec::new();
            let fault = deliver(&mut stream, &octets, piece, &mut plain);
            assert!(fault.is_err() && plain.is_empty(), "{name}");
            assert!(is_alert_or_nothing(&stream.take_sealed()), "{name}");
            assert_eq!(stream.held_octets(), 0, "{name}: no octets are kept");
        }
    }
}

fn is_alert_or_nothing(octets: &[u8]) -> bool {
    octets.is_empty() || octets[0] == 0x15
}

/// what one hostile flight costs is arithmetic of milliseconds, whatever the cut.
#[test]
fn a_12_a_hostile_flight_costs_little() {
    let server = server(&[&self_signed(&["mx.example.net"])]);
    let began = std::time::Instant::now();
    const FLIGHTS: u32 = 20;
    for _ in 0..FLIGHTS {
        let mut stream = TlsStream::server(&server).unwrap();
        let empty = [0x16u8, 3, 3, 0, 0].repeat(10_000);
        assert!(deliver(&mut stream, &empty, 1, &mut Vec::new()).is_err());
    }
    // The row wants 50 ms a case; this is a build without optimisation.
    assert!(began.elapsed() / FLIGHTS < std::time::Duration::from_millis(50));
}

/// A-27, CVE-2026-45185: after close_notify no octet is read as anything.
#[test]
fn a_27_after_close_notify_nothing_is_read() {
    let server = server(&[&self_signed(&["mx.example.net"])]);
    for more in [&b"RSET\r\nQUIT\r\n"[..], &[0x17, 3, 3, 0, 1, 0], &[0x16; 64], &[0xff; 20_000]] {
        for piece in [1, 7, usize::MAX] {
            let mut pair = Pair::secured(&client("mx.example.net", HopTrust::Anybody), &server);
            pair.client.send(b"BDAT 1000 LAST\r\nhalf of it");
            pair.client.close();
            pair.client.send(b"never sealed");
            let octets = [&pair.client.take_sealed(), more].concat();
            deliver(&mut pair.server, &octets, piece, &mut pair.at_server).unwrap();
            assert_eq!(pair.at_server, b"BDAT 1000 LAST\r\nhalf of it");
            assert!(pair.server.peer_closed());
            assert_eq!(pair.server.held_octets(), 0);
            // The other direction is open until we close it as well.
            pair.server.send(b"250 ok\r\n");
            pair.server.close();
            pair.carry(usize::MAX).unwrap();
            assert_eq!(pair.at_client, b"250 ok\r\n");
            assert!(pair.client.peer_closed());
        }
    }
}

/// a fault is an alert, and nothing readable.
#[test]
fn a_28_broken_records_end_with_an_alert_and_no_clear_text() {
    let (_, good) = sealed_by_client(b"MAIL FROM:<a@client.example>\r\n");
    let broken_tag = |sealed: &[u8]| {
        let mut broken = sealed.to_vec();
        *broken.last_mut().unwrap() ^= 1;
        broken
    };
    let oversized = [&[0x17, 3, 3, 0x40, 0x12], [0; 0x4012].as_slice()].concat();
    type Spoil = Box<dyn Fn(&[u8]) -> Vec<u8>>;
    let table: [(&str, Spoil); 7] = [
        ("broken tag", Box::new(broken_tag)),
        ("clear text", Box::new(|_| b"QUIT\r\n".to_vec())),
        ("16,385 octets or what seals them", Box::new(move |_| oversized.clone())),
        ("a length past all bounds", Box::new(|_| vec![0x17, 3, 3, 0xff, 0xff])),
        ("another protocol's version", Box::new(|_| vec![0x17, 9, 9, 0, 1])),
        ("clear alerts", Box::new(|_| [0x15, 3, 3, 0, 2, 1, 90].repeat(100))),
        ("replayed", Box::new(|sealed| [sealed, sealed].concat())),
    ];
    assert!(!good.is_empty());
    for (name, spoil) in table {
        for piece in [1, usize::MAX] {
            let (mut stream, sealed) = sealed_by_client(b"NOOP\r\n");
            let mut plain = Vec::new();
            let carried = deliver(&mut stream, &spoil(&sealed), piece, &mut plain);
            assert!(carried.is_err(), "{name}");
            let alert = stream.take_sealed();
            assert!(!alert.is_empty() && alert[0] == 0x17, "{name}: a sealed alert, {alert:?}");
            // Whatever is tried from now on, nothing more leaves.
            stream.send(b"250 ok\r\n");
            stream.close();
            assert!(stream.take_sealed().is_empty(), "{name}");
            assert!(stream.receive(&sealed, &mut plain).is_err());
        }
    }
}

/// whatever a peer sends, nothing panics, nothing is kept without bound.
#[test]
fn a_28_spoilt_handshakes_fail_without_a_panic() {
    let server = server(&[&self_signed(&["mx.example.net"])]);
    let (mut failed, mut rng) = (0, fastrand::Rng::with_seed(28));
    for round in 0..400 {
        let version = if rng.bool() { &TLS12 } else { &TLS13 };
        let client =
            ClientTls::of_versions(&[version], "mx.example.net", HopTrust::Anybody, None, TODAY);
        let mut pair = Pair::new(&client.unwrap(), &server);
        let spoilt_flight = rng.usize(0..3);
        for flight in 0..3 {
            let mut up = pair.client.take_sealed();
            if flight == spoilt_flight && !up.is_empty() {
                spoil(&mut up, &mut rng);
            }
            let piece = [1, 100, usize::MAX][round % 3];
            let up = deliver(&mut pair.server, &up, piece, &mut pair.at_server);
            let down = pair.server.take_sealed();
            let down = deliver(&mut pair.client, &down, piece, &mut pair.at_client);
            pair.client.send(b"NOOP\r\n");
            failed += usize::from(up.is_err() || down.is_err());
            assert!(pair.server.held_octets() < 2 * 65_536);
        }
    }
    assert!(failed > 200, "only {failed} were spoilt");
}

fn spoil(octets: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    let at = rng.usize(0..octets.len());
    match rng.u8(0..5) {
        0 => octets[at] ^= 1 << rng.u8(0..8),
        1 => octets.truncate(at),
        2 => octets.insert(at, rng.u8(..)),
        3 => {
            let copy = octets[at..].to_vec();
            octets.extend(copy);
        }
        _ => drop(octets.drain(at..(at + 9).min(octets.len()))),
    }
}

// ---- what is counted and kept ---------------------------------------------------------------

#[test]
fn sealed_octets_that_left_are_told_as_plain_ones() {
    let server = server(&[&self_signed(&["mx.example.net"])]);
    let mut pair = Pair::new(&client("mx.example.net", HopTrust::Anybody), &server);
    // The reply to STARTTLS is still on its way. What is sent before the handshake is done waits for
    // its end, and is not counted before it has left.
    pair.server.follow(30);
    pair.server.send(b"220 hello\r\n");
    let hello = pair.client.take_sealed();
    pair.server.receive(&hello, &mut Vec::new()).unwrap();
    let flight = pair.server.take_sealed();
    assert_eq!(pair.server.sent(29), 0);
    assert_eq!(pair.server.sent(1 + flight.len() as u64), 30);
    pair.client.receive(&flight, &mut pair.at_client).unwrap();
    let finished = pair.client.take_sealed();
    pair.server.receive(&finished, &mut Vec::new()).unwrap();
    let (one, long) = (pair.server.take_sealed(), vec![b'x'; 40_000]);
    pair.server.send(&long);
    pair.server.send(b"y");
    let other = pair.server.take_sealed();
    let mut told = Vec::new();
    for _ in 0..one.len() + other.len() {
        told.push(pair.server.sent(1));
    }
    let told: Vec<u64> = told.into_iter().filter(|plain| *plain > 0).collect();
    assert_eq!(told, [11, 40_000, 1]);
    assert_eq!(pair.server.sent(0), 0);
    pair.client.receive(&[one, other].concat(), &mut pair.at_client).unwrap();
    assert_eq!(pair.at_client.len(), 11 + 40_000 + 1);
}

#[test]
fn an_idle_stream_holds_no_buffers() {
    let (mut stream, sealed) = sealed_by_client(&[b'x'; 50_000]);
    let mut plain = Vec::new();
    stream.receive(&sealed[..20_000], &mut plain).unwrap();
    assert!(stream.held_octets() < 2 * 16_384 + 64, "one record at most, and room to grow");
    stream.receive(&sealed[20_000..], &mut plain).unwrap();
    stream.send(&plain);
    assert_eq!(plain.len(), 50_000);
    drop(stream.take_sealed());
    assert_eq!(stream.held_octets(), 0);
}

// ---- files ----------------------------------------------------------------------------------

#[test]
fn a_file_that_is_of_no_use_is_named_with_the_cure() {
    let (one, other) = (self_signed(&["mx.example.net"]), self_signed(&["mx.example.net"]));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE \
                     KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n\
               -----END RSA PRIVATE KEY-----\n";
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let cut = &one.certificate[..one.certificate.len() / 2];
    let table: [(&str, &str, [&str; 2]); 10] = [
        ("", &one.key, ["cert.pem", "-----BEGIN CERTIFICATE-----"]),
        (&one.key, &one.key, ["cert.pem", "no certificate"]),
        (cut, &one.key, ["cert.pem", "`CERTIFICATE` has no end"]),
        (nonsense, &one.key, ["cert.pem", "certificate 1"]),
        (&one.certificate, "", ["key.pem", "no private key"]),
        (&one.certificate, &one.certificate, ["key.pem", "no private key"]),
        (&one.certificate, encrypted, ["key.pem", "openssl pkey"]),
        (&one.certificate, old, ["key.pem", "openssl pkey"]),
        (&one.certificate, no_key, ["key.pem", "cannot be used"]),
        (&one.certificate, &other.key, ["key.pem", "first certificate in cert.pem"]),
    ];
    for (certificate, key, words) in table {
        let identity = Identity {
            certificates: Pem { path: "cert.pem", octets: certificate.as_bytes() },
            key: Pem { path: "key.pem", octets: key.as_bytes() },
        };
        let fault = ServerTls::from_pem(&[identity], None, TODAY).unwrap_err().to_string();
        assert!(words.iter().all(|word| fault.contains(word)), "{words:?}: {fault}");
        assert!(!fault.contains('\n') && !fault.contains("  "), "one line: {fault:?}");
    }
    let fault = |ca: &str| {
        let ca = ServerTls::from_pem(&[one.identity()], Some(bundle(ca)), TODAY);
        ca.unwrap_err().to_string()
    };
    assert!(fault("").contains("ca.pem") && fault(nonsense).contains("certificate 1"));
    assert_eq!(ServerTls::from_pem(&[], None, TODAY).unwrap_err(), TlsFileFault::NoIdentity);
    let named = ClientTls::from_pem("not a name", HopTrust::Anybody, None, TODAY);
    assert!(named.unwrap_err().to_string().contains("not a name"));
    let trust = HopTrust::Authorities(bundle(""));
    assert!(ClientTls::from_pem("mx.example.net", trust, None, TODAY).is_err());
}

#[test]
fn both_may_be_in_one_file_and_text_around_them_is_passed_over() {
    let made = self_signed(&["mx.example.net"]);
    let both = format!("made by hand\n{}\nand its key\n{}\n", made.key, made.certificate);
    let file = Pem { path: "both.pem", octets: both.as_bytes() };
    let server = ServerTls::from_pem(&[Identity { certificates: file, key: file }], None, TODAY);
    Pair::secured(&client("mx.example.net", HopTrust::Anybody), &Arc::new(server.unwrap()));
}

#[test]
fn a_certificate_out_of_its_time_is_used_with_a_warning() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["mx.example.net".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 3, 1);
    let (begin, end) = (params.not_before.unix_timestamp(), params.not_after.unix_timestamp());
    let certificate = params.self_signed(&key).unwrap();
    let (pem, key) = (certificate.pem(), key.serialize_pem());
    let identity = Identity {
        certificates: Pem { path: "cert.pem", octets: pem.as_bytes() },
        key: Pem { path: "key.pem", octets: key.as_bytes() },
    };
    let path = || "cert.pem".to_owned();
    let table = [
        (begin - 1, Some(TlsWarning::NotYetValid { path: path(), unix_s: begin })),
        (begin, None),
        (end, None),
        (end + 1, Some(TlsWarning::Expired { path: path(), unix_s: end })),
    ];
    for (now, warning) in table {
        let server = ServerTls::from_pem(&[identity], None, now).unwrap();
        assert_eq!(server.warnings().first(), warning.as_ref(), "at {now}");
        Pair::secured(&client("mx.example.net", HopTrust::Anybody), &Arc::new(server));
        let client = ClientTls::from_pem("x.example", HopTrust::Anybody, Some(identity), now);
        assert_eq!(client.unwrap().warnings().first(), warning.as_ref());
    }
}
