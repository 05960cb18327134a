//! Tests of the whole scanner, as tables.
