//! Any message gives what a plain search finds, in any cut.

use super::*;
use proptest::prelude::*;

fn literal() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"abAB".as_slice()), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each walk finds what a plain search of the whole text finds.
    #[test]
    fn a_scan_finds_what_a_plain_search_finds(
        literals in prop::collection::vec(literal(), 1..8),
        text in prop::collection::vec(prop::sample::select(b"abABc".as_slice()), 0..200),
        cuts in prop::collection::vec(1usize..40, 1..8),
    ) {
        use aho_corasick::nfa::contiguous::NFA;
        use aho_corasick::{Input, automaton::Automaton};
        let surfaces = [Surface::Raw, Surface::Part];
        let specs: Vec<RuleSpec> = surfaces.iter().flat_map(|surface| {
            let spec = |literal: &Vec<u8>| RuleSpec {
                literals: vec![literal.clone()],
                ..rule(surface.name(), "", &[*surface])
            };
            literals.iter().map(spec).collect::<Vec<_>>()
        }).collect();
        let rules = compile(&specs);
        let message = [b"\n", &text[..]].concat();
        let (mut rest, mut pieces, mut turn) = (&message[..], Vec::new(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*turn.next().unwrap()));
            pieces.push(piece);
            rest = after;
        }
        let (findings, _, _) = scan(&rules, pieces);
        let oracle = NFA::builder().ascii_case_insensitive(true).build(&literals).unwrap();
        let mut expected = Vec::new();
        let mut state = aho_corasick::automaton::OverlappingState::start();
        let mut seen = vec![false; literals.len()];
        loop {
            oracle.try_find_overlapping(&Input::new(&text), &mut state).unwrap();
            let Some(found) = state.get_match() else { break };
            if !std::mem::replace(&mut seen[found.pattern().as_usize()], true) {
                expected.push((found.pattern().as_u32() as u16, found.end() as u64));
            }
        }
        expected.sort_unstable();
        for (surface, base) in surfaces.into_iter().zip([0, literals.len() as u16]) {
            let on_surface = findings.hits().iter().filter(|hit| hit.surface == surface);
            let mut found: Vec<_> = on_surface.map(|hit| (hit.rule - base, hit.offset)).collect();
            found.sort_unstable();
            prop_assert_eq!(&found, &expected);
        }
    }

    /// Made of the pieces that matter, in any order and any cut.
    #[test]
    fn any_message_gives_the_same_in_any_cut(
        tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..40),
        cuts in prop::collection::vec(1usize..20, 1..8),
    ) {
        let rules = surface_rules();
        let message: Vec<u8> = tokens.concat().into_bytes();
        let (mut rest, mut pieces, mut turn) = (&message[..], Vec::new(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*turn.next().unwrap()));
            pieces.push(piece);
            rest = after;
        }
        let whole = scan(&rules, [&message[..]]);
        prop_assert_eq!(&whole, &scan(&rules, pieces));
        prop_assert_eq!(&whole, &scan(&rules, message.chunks(1)));
    }
}

const TOKENS: &[&str] = &[
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\n\n",
    "\r",
    "--b\n",
    "--b\r\n",
    "--b--\r\n",
    "--c\r\n",
    "--c--\n",
    "-",
    "--",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "Content-Type: message/rfc822\n",
    "Content-Type: multipart/digest; boundary=c\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\n",
    "Subject: via",
    "gra",
    "viagra",
    "dmlhZ3Jh",
    "v=69agra",
    "=\r\n",
    " ",
    "x",
    "From me\n",
    ":",
    "A: b\r\n",
    "Received: x\n",
    "=",
    "=4",
    "===",
];
