//! Tables that others have replaced, until nobody uses them any more.
//!
//! Whoever lets go of tables last frees them. With hundreds of thousands of literals or recipients that
//! takes milliseconds, for which all sessions of a shard would wait. So they are kept here until they
//! are used nowhere else, and are freed by a thread that nobody waits for.

use crate::session::Tables;
use std::sync::Arc;

/// The tables of configurations that no longer serve.
#[derive(Debug, Default)]
pub(super) struct Retired {
    tables: Vec<Arc<Tables>>,
}

impl Retired {
    /// Takes the tables of a configuration that is about to be replaced.
    pub fn take(&mut self, tables: &Arc<Tables>) {
        self.tables.push(Arc::clone(tables));
    }

    /// Frees those that no session and no scan uses any more. From here on they cannot be had, so who
    /// does not use them now never will. True if there were any.
    pub fn free_unused(&mut self) -> bool {
        let before = self.tables.len();
        self.tables
            .retain(|tables| Arc::strong_count(tables) > 1 || Arc::strong_count(&tables.rules) > 1);
        self.tables.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    #[test]
    fn tables_are_freed_here_and_by_nobody_else() {
        let Config { tables, .. } = Config::embedded(Path::new("")).unwrap();
        let (rules, of_a_session) = (Arc::clone(&tables.rules), Arc::clone(&tables));
        let held = Arc::downgrade(&tables);
        let mut retired = Retired::default();
        retired.take(&tables);
        drop(tables);
        assert!(!retired.free_unused());
        assert!(held.upgrade().is_some(), "a session has them");
        drop(of_a_session);
        assert!(!retired.free_unused());
        assert!(held.upgrade().is_some(), "a scan has the rules");
        drop(rules);
        assert!(held.upgrade().is_some(), "nobody has freed them");
        assert!(retired.free_unused());
        assert!(held.upgrade().is_none() && retired.tables.is_empty());
    }
}
