//! Where messages are cut in two.

/// Places at which a message is cut: every one, if all the pieces together have at most
/// `octets_max`; else those about line ends, where lines, fields, parts and dots are told apart, as many
/// of them as the octets allow, evenly over the message.
pub fn places(message: &[u8], octets_max: usize) -> Vec<usize> {
    let most = octets_max / message.len().max(1);
    if message.len() <= most {
        return (1..message.len()).collect();
    }
    // From before the CR to behind two octets of the next line: a dot, or the dashes of a boundary.
    let about = |feed: usize| feed.saturating_sub(1)..feed + 4;
    let mut edges: Vec<usize> = memchr::memchr_iter(b'\n', message)
        .flat_map(about)
        .filter(|at| (1..message.len()).contains(at))
        .collect();
    edges.dedup();
    // A step that is no multiple of an edge's five places meets all of them in turn.
    let step = edges.len().div_ceil(most.max(1));
    let step = if step > 1 && step.is_multiple_of(5) { step + 1 } else { step.max(1) };
    edges.into_iter().step_by(step).collect()
}
