//! Bad configurations, as data: each file in `tests/config/bad` says in its first lines where its
//! faults are and which words the message or its help holds: `# line:column words`, or
//! `# file:line:column words` for a file that it names.

use postern::config::{Config, EMBEDDED};
use std::path::Path;

#[test]
fn every_bad_file_has_its_faults_at_their_places() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/bad");
    let (mut files, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let faults = Config::parse(&text, "bad.toml", &folder).map(|_| ()).unwrap_err();
        let told: Vec<String> = faults
            .each()
            .iter()
            .map(|fault| format!("{} ({})", fault.line(), fault.help_text()))
            .map(|line| line.replace(&format!("{}/", folder.display()), ""))
            .collect();
        let heads: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        assert!(!heads.is_empty(), "{}", path.display());
        for head in heads {
            let (place, words) = head.split_once(' ').unwrap();
            let place = match place.matches(':').count() {
                1 => format!("bad.toml:{place}: "),
                _ => format!("{place}: "),
            };
            if !told.iter().any(|line| line.starts_with(&place) && line.contains(words)) {
                wrong.push(format!("{}: wanted {place}..{words}.., got {told:#?}", path.display()));
            }
        }
        files += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(files >= 90, "{files} files");
}

#[test]
fn all_faults_are_told_at_once() {
    let text = "[listen.mx]\naddress = \"nowhere\"\nprotocol = \"pop3\"\n\
                [route.a]\nto = \"ftp:x\"\n[domain.\"x\"]\nroute = \"b\"\nrecipients = \"any\"\n";
    let faults = Config::parse(text, "bad.toml", Path::new(".")).map(|_| ()).unwrap_err();
    assert!(faults.each().len() >= 3, "{:?}", faults.each());
}

#[test]
fn the_embedded_configuration_is_good_in_any_folder() {
    let config = Config::embedded(Path::new("/nowhere")).map_err(|faults| faults.to_string());
    let summary = postern::config::summary(&config.unwrap());
    for words in ["mx on 127.0.0.1:2525, SMTP", "filter on 127.0.0.1:2424, LMTP", "split    "] {
        assert!(summary.contains(words), "{words} is not in\n{summary}");
    }
}

#[test]
fn a_damaged_configuration_never_panics() {
    for cut in 0..EMBEDDED.len() {
        if EMBEDDED.is_char_boundary(cut) {
            let _ = Config::parse(&EMBEDDED[..cut], "cut.toml", Path::new("."));
        }
    }
    for (at, _) in EMBEDDED.char_indices() {
        let damaged = format!("{}\u{fffd}{}", &EMBEDDED[..at], &EMBEDDED[at..]);
        let _ = Config::parse(&damaged, "damaged.toml", Path::new("."));
    }
}
