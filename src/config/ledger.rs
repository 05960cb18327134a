//! `[ledger]`: what is remembered of outcomes, and for how long. Without the table the defaults hold.

use super::listen::set;
use super::table::Table;
use super::top::Reading;
use super::value;
use crate::ledger::Settings;
use crate::limits::{
    LEDGER_COUNT_RANGE, LEDGER_OCTETS_RANGE, LEDGER_PARTIAL_RANGE, LEDGER_TIME_RANGE,
};

/// The settings of the ledger; `None` if the file wants none.
pub(super) fn ledger(top: &mut Table<'_>, reading: &Reading<'_>) -> Option<Settings> {
    let mut settings = Settings::default();
    let Some(mut table) = top.table("ledger") else { return Some(settings) };
    let keep = table.switch("keep").unwrap_or(true);
    set(&mut settings.outcome_lifetime, table.time("outcomes", LEDGER_TIME_RANGE));
    let span = table.value("replay").map(toml::Spanned::span);
    set(&mut settings.replay_window, table.time("replay", LEDGER_TIME_RANGE));
    set(&mut settings.confirmed_grace, table.time("grace", LEDGER_TIME_RANGE));
    set(&mut settings.partial_lifetime, table.time("partial", LEDGER_TIME_RANGE));
    set(&mut settings.octets_max, table.size("size", LEDGER_OCTETS_RANGE));
    set(&mut settings.partial_octets, table.size("partial-size", LEDGER_PARTIAL_RANGE));
    let client_span = table.value("partial-size-client").map(toml::Spanned::span);
    let client = table.size("partial-size-client", LEDGER_PARTIAL_RANGE);
    set(&mut settings.partial_octets_client, client);
    let mut count =
        |key| table.number(key, LEDGER_COUNT_RANGE).and_then(|n| usize::try_from(n).ok());
    set(&mut settings.records_max, count("records"));
    set(&mut settings.open_max, count("open"));
    table.end();
    // The lists of the index end in the order in which they came only if this holds.
    if let (true, Some(span)) = (settings.replay_window > settings.outcome_lifetime, span) {
        let outcomes = value::shown(settings.outcome_lifetime);
        let help = format!("at most `outcomes`, which is {outcomes}");
        reading.faults.add(span, "messages would be known longer than their outcomes", help);
    }
    if settings.partial_octets_client > settings.partial_octets {
        match client_span {
            Some(span) => {
                let help = "at most `partial-size`, which is for all clients together";
                reading.faults.add(span, "more for one client than for all", help);
            }
            None => settings.partial_octets_client = settings.partial_octets,
        }
    }
    keep.then_some(settings)
}
