//! The rooms that are sans-IO name no runtime, socket, file, clock or random source.

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
            if path.file_name().is_some_and(|name| name == "tests.rs") {
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
