//! What becomes of what rules find.

use super::*;

#[test]
fn an_observed_rule_is_noted_and_decides_nothing() {
    let observed = RuleSpec { observe: true, ..rule("seen", "viagra", &[Surface::Raw]) };
    let rules = compile(&[observed, rule("counted", "pills", &[Surface::Raw])]);
    let (findings, _, _) = scan_in_every_cut(&rules, b"\nviagra pills");
    assert_eq!(tags_of(&rules, &findings), "counted");
    assert_eq!(findings.score(), Score(1000));
    assert!(findings.observed().has(rules.tags().find("seen").unwrap()));
    let names: Vec<&str> = findings.hits().iter().map(|hit| rules.rule_name(hit.rule)).collect();
    assert_eq!(names, ["seen: viagra", "counted: pills"]);
}

#[test]
fn expressions_are_found_on_every_surface_but_raw() {
    let surfaces = Surface::ALL.into_iter().filter(|surface| *surface != Surface::Raw);
    for surface in surfaces {
        let expression = RuleSpec {
            literals: vec![],
            regexes: vec![r"(?i)\bvia[g-i]ra\b".into(), "[0-9]{4}-nothing".into()],
            fields: vec![b"x-s".to_vec()],
            ..rule("found", "", &[surface])
        };
        let rules = compile(std::slice::from_ref(&expression));
        let value = match surface {
            Surface::Subject | Surface::Header => "Subject: a =?utf-8?Q?VIAgra?=\r\n",
            Surface::From => "From: viagra <a@b>\r\n",
            Surface::To => "To: a@viagra.example\r\n",
            Surface::ReplyTo => "Reply-To: \"vi\\agra\" <a@b>\r\n",
            Surface::Field => "X-S: viagra\r\n",
            Surface::Name => "Content-Disposition: inline; filename*0=via; filename*1=gra\r\n",
            Surface::Type => "Content-Type: image/viagra\r\n",
            _ => "",
        };
        let body = match surface {
            Surface::Url => "at http://a.example/viagra?",
            Surface::Entry => {
                "PK=03=04=14=00=00=00=00=00=00=00=00=00=00=00=00=00=05=00=00=00\
                 =05=00=00=00=06=00=00=00viagra....."
            }
            _ if value.is_empty() => "is viagra=\r\n=2E",
            _ => "viagras",
        };
        let encoding = "Content-Transfer-Encoding: quoted-printable\r\n";
        let message = format!("{value}{encoding}\r\n{body}");
        let (findings, _, _) = scan_in_every_cut(&rules, message.as_bytes());
        let found = tags_of(&rules, &findings).replace("archive-broken ", "");
        assert_eq!(found, "found", "{surface:?}");
        let without = message.replace("gra", "pra");
        let missed = tags_of(&rules, &scan(&rules, [without.as_bytes()]).0);
        assert_eq!(missed.replace("archive-broken", ""), "", "{surface:?}");
        // Another surface than the one that is asked for says nothing.
        let in_body =
            [Surface::Text, Surface::Visible, Surface::Part, Surface::Url, Surface::Entry];
        if !in_body.contains(&surface) && surface != Surface::Header {
            let other = compile(&[RuleSpec { surfaces: vec![Surface::Visible], ..expression }]);
            assert_eq!(tags_of(&other, &scan(&other, [message.as_bytes()]).0), "", "{surface:?}");
        }
    }
}

#[test]
fn a_spent_budget_is_a_tag_and_the_same_in_any_cut() {
    // Each stretch holds many gates and no match, and all reach far: a sender can do no more.
    let regexes = (0..64).map(|number| format!("gate{number:02}[0-9]{{200}}")).collect();
    let gates: String = (0..64).map(|number| format!("gate{number:02}")).collect();
    let dear = RuleSpec { literals: vec![], regexes, ..rule("dear", "", &[Surface::Text]) };
    let rules = compile(&[dear, rule("late", "late", &[Surface::Part])]);
    let cheap = format!("\r\n{gates}{}", "7".repeat(200));
    let (findings, _, _) = scan(&rules, [cheap.as_bytes()]);
    assert_eq!(tags_of(&rules, &findings), "dear");
    let flood = format!("\r\n{}late", gates.repeat(200));
    let whole = scan(&rules, [flood.as_bytes()]);
    assert_eq!(tags_of(&rules, &whole.0), "scan-budget-spent late");
    for piece in [1, 100, 4096, 30_000] {
        assert!(whole == scan(&rules, flood.as_bytes().chunks(piece)), "pieces of {piece}");
    }
    let cost = rules.cost();
    let bound = cost.units_at_once + cost.units_an_octet * flood.len() as u64;
    assert!(whole.0.units() <= bound, "{} of {bound}", whole.0.units());
}

#[test]
fn a_condition_looks_at_the_tags_above_it() {
    let tags = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let when = |all: &[&str], any: &[&str], count, none: &[&str]| Condition {
        all: tags(all),
        any: tags(any),
        count,
        none: tags(none),
    };
    let only = |tag: &str, when| RuleSpec { literals: vec![], when, ..rule(tag, "", &[]) };
    let rules = compile(&[
        rule("a", "alpha", &[Surface::Raw]),
        rule("b", "beta", &[Surface::Raw]),
        rule("c", "gamma", &[Surface::Raw]),
        only("both", when(&["a", "b"], &[], 0, &[])),
        only("some", when(&[], &["a", "b"], 0, &[])),
        only("two", when(&[], &["a", "b", "c"], 2, &[])),
        only("not-c", when(&["a"], &[], 0, &["c"])),
        only("chained", when(&["both"], &[], 0, &["decode-dirty"])),
        RuleSpec { when: when(&["a"], &[], 0, &[]), ..rule("with", "delta", &[Surface::Raw]) },
    ]);
    let table = [
        ("", ""),
        ("alpha", "a some not-c"),
        ("beta gamma", "b c some two"),
        ("alpha beta", "a b both some two not-c chained"),
        ("alpha beta gamma delta", "a b c both some two chained with"),
        ("delta", ""),
    ];
    for (body, expected) in table {
        let (findings, _, _) = scan_in_every_cut(&rules, format!("\n{body}").as_bytes());
        assert_eq!(tags_of(&rules, &findings), expected, "{body}");
    }
    let forward = only("x", when(&["later"], &[], 0, &[]));
    let error = Rules::compile(Tags::new(), &[forward, rule("later", "x", &[Surface::Raw])]);
    assert_eq!(error.unwrap_err(), RuleError::NoSuchTag { rule: 0, tag: "later".into() });
}

#[test]
fn a_tag_counts_once_with_the_score_of_its_first_rule() {
    let second = RuleSpec { score: Score(5000), ..rule("tag", "earlier", &[Surface::Raw]) };
    let rules = compile(&[rule("tag", "later", &[Surface::Raw]), second]);
    let (findings, _, _) = scan_in_every_cut(&rules, b"\nearlier later");
    assert_eq!(findings.score(), Score(1000));
}

#[test]
fn received_fields_of_the_message_itself_are_counted() {
    let message =
        b"Received: a\r\n b\r\nX: y\r\nreceived: c\r\nContent-Type: message/rfc822\r\n\r\n\
        Received: inner\r\n\r\nReceived: text\r\n";
    let (findings, _, fields) = scan_in_every_cut(&surface_rules(), message);
    assert_eq!(findings.received_fields(), 2);
    assert_eq!(fields, ["0 Received", "0 X", "0 received", "0 Content-Type", "1 Received"]);
}
