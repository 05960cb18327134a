//! Scanners that are lent for one message and come back: a warm shard takes no memory for a scan.
//!
//! Each thread keeps a few that nobody uses, as it keeps the scratch. A session that waits for a
//! command holds none.

use super::{Findings, Rules, Scanner};
use crate::limits::SCANNERS_IDLE_MAX;
use std::cell::RefCell;
use std::sync::Arc;

/// A scanner at the start of a message, which goes back when it is dropped, finished or not.
#[derive(Debug)]
pub struct LentScanner {
    /// There until it is dropped.
    scanner: Option<Box<Scanner>>,
}

#[derive(Default)]
struct Idle {
    #[expect(clippy::vec_box, reason = "the boxes themselves are lent")]
    scanners: Vec<Box<Scanner>>,
    /// What an idle scanner holds, lest tables that were swapped stay in memory.
    no_rules: Arc<Rules>,
}

thread_local! {
    static IDLE: RefCell<Idle> = RefCell::default();
}

impl LentScanner {
    /// A scanner with these rules.
    pub fn new(rules: Arc<Rules>) -> LentScanner {
        let idle = IDLE.with_borrow_mut(|idle| idle.scanners.pop());
        let scanner = match idle {
            Some(mut scanner) => {
                scanner.reset(rules);
                scanner
            }
            None => Box::new(Scanner::new(rules)),
        };
        LentScanner { scanner: Some(scanner) }
    }

    /// As [`Scanner::claim`].
    pub fn claim(&mut self, authserv_ids: Arc<[String]>) {
        if let Some(scanner) = &mut self.scanner {
            scanner.claim(authserv_ids);
        }
    }

    /// As [`Scanner::feed`].
    pub fn feed(&mut self, content: &[u8]) {
        if let Some(scanner) = &mut self.scanner {
            scanner.feed(content);
        }
    }

    /// As [`Scanner::finish`].
    pub fn finish(mut self) -> Findings {
        self.scanner.as_mut().map(|scanner| scanner.finish()).unwrap_or_default()
    }
}

impl Drop for LentScanner {
    fn drop(&mut self) {
        let Some(mut scanner) = self.scanner.take() else { return };
        // A thread that ends has no room for idle scanners any more.
        let _ = IDLE.try_with(|idle| {
            let mut idle = idle.borrow_mut();
            if idle.scanners.len() < SCANNERS_IDLE_MAX {
                scanner.rest(Arc::clone(&idle.no_rules));
                idle.scanners.push(scanner);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{RuleSpec, Surface, Tags};

    #[test]
    fn a_scanner_comes_back_and_holds_no_rules() {
        let spec = RuleSpec {
            literals: vec![b"hit".to_vec()],
            surfaces: vec![Surface::Raw],
            tag: "tag".into(),
            ..RuleSpec::default()
        };
        let rules = Arc::new(Rules::compile(Tags::new(), &[spec]).unwrap());
        let tag = rules.tags().find("tag").unwrap();
        let idle = || IDLE.with_borrow(|idle| idle.scanners.len());
        for message in ["\n a hit", "\n a mi"] {
            let mut scanner = LentScanner::new(Arc::clone(&rules));
            scanner.feed(message.as_bytes());
            // This one is not finished.
            let mut other = LentScanner::new(Arc::clone(&rules));
            other.feed(b"\n a h");
            assert_eq!(idle(), 0);
            drop(other);
            assert_eq!(scanner.finish().has(tag), message.ends_with("hit"));
            assert_eq!((idle(), Arc::strong_count(&rules)), (2, 1));
        }
        let many: Vec<_> =
            (0..SCANNERS_IDLE_MAX + 1).map(|_| LentScanner::new(Arc::clone(&rules))).collect();
        drop(many);
        assert_eq!((idle(), Arc::strong_count(&rules)), (SCANNERS_IDLE_MAX, 1));
    }
}
