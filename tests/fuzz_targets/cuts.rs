//! Streams in pieces.

/// In which cuts a stream is tried beside the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cuts {
    /// Octet by octet, and in one cut that is drawn from the octets themselves: for the fuzzer, which
    /// shall be fast.
    // Each program uses one of the two.
    #[allow(dead_code)]
    Drawn,
    /// Octet by octet, and in two pieces at every place.
    #[allow(dead_code)]
    Every,
}

impl Cuts {
    /// Panics unless `tell` says the same of every cut as of the whole; gives what it says.
    pub fn agree<T: PartialEq + std::fmt::Debug>(
        self,
        octets: &[u8],
        tell: impl Fn(&[&[u8]]) -> T,
    ) -> T {
        let whole = tell(&[octets]);
        let check = |how: &str, pieces: &[&[u8]]| {
            let cut = tell(pieces);
            assert!(cut == whole, "{how}: {cut:#?}\nas a whole: {whole:#?}");
        };
        check("octet by octet", &octets.chunks(1).collect::<Vec<_>>());
        match self {
            Cuts::Drawn => {
                let pieces = drawn(octets);
                let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
                check(&format!("in pieces of {lengths:?}"), &pieces);
            }
            Cuts::Every => {
                for at in 1..octets.len() {
                    check(&format!("cut at {at}"), &[&octets[..at], &octets[at..]]);
                }
            }
        }
        whole
    }
}

/// Pieces of 1 to 16 octets, or of 1 to 256.
fn drawn(octets: &[u8]) -> Vec<&[u8]> {
    // FNV-1a, and then the multiplier of MMIX: any scattered numbers would do.
    let mut seed = octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |seed, octet| {
        (seed ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3)
    });
    let most = if seed % 2 == 0 { 16 } else { 256 };
    let (mut rest, mut pieces) = (octets, Vec::new());
    while !rest.is_empty() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (piece, later) =
            rest.split_at(((seed >> 33) % most + 1).min(rest.len() as u64) as usize);
        pieces.push(piece);
        rest = later;
    }
    pieces
}
