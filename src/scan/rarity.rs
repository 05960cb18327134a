//! How rare octets and words are in mail: where a table lies in the caches, and which literals an
//! expression waits for, is decided by it. Nothing depends on it but speed, and how much is seen of matches
//! that are longer than expressions reach.
//!
//! Rarity is four times the logarithm to base two of how many octets one of a kind comes in, counted
//! in the decoded texts of some hundred messages, of which two thirds were HTML.

/// How rare an octet is.
pub(super) fn of_octet(octet: u8) -> u32 {
    const BY_RARITY: [(u32, &[u8]); 15] = [
        (12, b" "),
        (16, b"et"),
        (18, b"oiar"),
        (19, b"ns"),
        (20, b"cl"),
        (21, b"\"hd"),
        (22, b"></\n\r="),
        (23, b"fpmbg"),
        (24, b"wu"),
        (25, b".0-"),
        (28, b"y1"),
        (29, b"v\tk"),
        (31, b"_:,2"),
        (34, b"6z34#95q;8x&"),
        (38, b"%7'j!?*"),
    ];
    let known = BY_RARITY.iter().find(|(_, octets)| octets.contains(&octet));
    known.map_or(44, |(rarity, _)| *rarity)
}

/// Pieces of words and of markup that come far more often than their octets do by chance.
const PIECES: [(u32, &[&[u8]]); 12] = [
    (32, &[b"com", b"font", b"the", b" wi"]),
    (33, &[b"http://", b"://", b"</t", b".com", b"ing"]),
    (34, &[b"width="]),
    (35, &[b" the ", b"000"]),
    (36, &[b"<br>", b"<font", b"</font>", b"color", b"net", b" an", b"ight"]),
    (37, &[b"www.", b"height", b"<td", b"and", b"ent", b" to ", b" you", b"ter", b"der"]),
    (38, &[b"src=", b"img", b".gif", b"&nbsp;", b"tion", b"for", b"ble", b"click", b"size="]),
    (
        39,
        &[b"href=", b"table", b"border", b"</a>", b"<a ", b" and ", b" of ", b"line", b"https://"],
    ),
    (40, &[b"align=", b"style", b"face=", b"</tr>", b"ser", b"age"]),
    (42, &[b" for ", b" your", b" in ", b"ess", b"mail", b"all", b"able", b"pro", b"thi"]),
    (48, &[b".html", b" of the ", b".jpg", b".png", b"business", b"image"]),
    (54, &[b"message", b"you have", b"this ", b"price", b"govern", b"national", b"give"]),
];

/// About how rare a literal in lower case is: by its pieces, and what is between them.
pub(super) fn of_literal(literal: &[u8]) -> u32 {
    let pieces = || PIECES.iter().flat_map(|(rarity, all)| all.iter().map(|one| (*rarity, *one)));
    // The rarity of each beginning, by the best of its last pieces.
    let mut beginnings = vec![0];
    for (place, octet) in literal.iter().enumerate() {
        let here = &literal[..=place];
        let by_octet = beginnings[place] + of_octet(*octet);
        let last = pieces().filter(|(_, piece)| here.ends_with(piece));
        let by_piece = last.map(|(rarity, piece)| beginnings[here.len() - piece.len()] + rarity);
        beginnings.push(by_piece.fold(by_octet, u32::min));
    }
    let around = pieces().filter(|(_, piece)| memchr::memmem::find(piece, literal).is_some());
    around.map(|(rarity, _)| rarity).fold(beginnings[literal.len()], u32::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_mail_has_is_less_rare_than_its_octets() {
        assert_eq!(of_literal(b""), 0);
        assert_eq!(of_literal(b"q"), of_octet(b'q'));
        assert_eq!(
            of_literal(b"viagra"),
            b"viagra".iter().map(|octet| of_octet(*octet)).sum::<u32>()
        );
        assert_eq!(of_literal(b"http://"), 33);
        assert_eq!(of_literal(b"ttp"), of_literal(b"http"));
        for (common, rare) in [("://", ".cgi"), (" of the ", "rolex"), (".com/", "x.exe")] {
            assert!(of_literal(common.as_bytes()) < of_literal(rare.as_bytes()), "{common}");
        }
    }
}
