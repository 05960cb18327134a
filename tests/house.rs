//! The rooms that are sans-IO name no runtime, socket, file, clock or random source, and no room names
//! one above it.

use std::path::{Path, PathBuf};

/// Rooms whose code must run in a made-up world.
const PURE: [&str; 7] = ["wire", "session", "scan", "policy", "relay", "ledger", "tls"];

/// What they may not name outside their tests.
const FORBIDDEN: [&str; 12] = [
    "glommio",
    "tokio",
    "io_uring",
    "std::net",
    "std::fs",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "fastrand",
    "println!",
    "eprintln!",
    "File::open",
];

#[test]
fn sans_io_rooms_name_nothing_that_waits_or_differs_from_run_to_run() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut files = 0;
    for room in PURE {
        for path in rust_files(&source.join(room)) {
            if path
                .components()
                .any(|part| part.as_os_str().to_string_lossy().trim_end_matches(".rs") == "tests")
            {
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate() {
                let said = line.split("//").next().unwrap_or_default();
                if let Some(word) = FORBIDDEN.iter().find(|word| said.contains(**word)) {
                    found.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(files >= 30, "only {files} files were read");
    assert!(found.is_empty(), "{found:#?}");
}

/// Rooms, and those above them, which they may not name.
const ABOVE: [(&str, &[&str]); 3] = [
    ("ledger", &["session", "durable", "shard", "control", "tools"]),
    ("durable", &["session", "relay", "shard", "control", "tools"]),
    ("shard", &["control", "tools"]),
];

#[test]
fn no_room_names_one_above_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for (room, above) in ABOVE {
        for path in rust_files(&source.join(room)) {
            let text = std::fs::read_to_string(&path).unwrap();
            for upper in above.iter().filter(|upper| text.contains(&format!("crate::{upper}"))) {
                found.push(format!("{} names {upper}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}
