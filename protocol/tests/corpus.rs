//! Runs the fuzz entry functions over the corpus and mutated copies of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the test"
)]

use std::path::Path;

use sluice_protocol::fuzz;

/// Mutated copies of each file; more with `SLUICE_FUZZ_ROUNDS`.
const ROUNDS: u64 = 1_000;

/// A small deterministic generator (SplitMix64): the same run everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        let edges = [0, 1, 2, 3, 4, 0x7f, 0x80, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff];
        if self.roll(2) == 0 { edges[self.roll(edges.len())] } else { u8::try_from(self.roll(256)).unwrap() }
    }

    fn mutate(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut data = seed.to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(data.len() + 1);
            match self.roll(5) {
                0 => data.truncate(at),
                1 => data.insert(at, self.byte()),
                2 if at < data.len() => {
                    data.remove(at);
                }
                3 => {
                    let tail = data[at..].to_vec();
                    data.extend(tail);
                }
                _ if at < data.len() => data[at] = self.byte(),
                _ => data.push(self.byte()),
            }
        }
        data
    }
}

fn run(name: &str, entry: fn(&[u8])) {
    let rounds =
        std::env::var("SLUICE_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds in {}", folder.display());
    entry(&[]);
    let mut dice = Dice(0x51_u64);
    for file in files {
        let seed = std::fs::read(&file).unwrap();
        entry(&seed);
        for _ in 0..rounds {
            entry(&dice.mutate(&seed));
        }
    }
}

macro_rules! corpus {
    ($($name:ident => $entry:path;)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name), $entry);
        })*
    };
}

corpus! {
    packets => fuzz::fuzz_packets;
    error_packet => fuzz::fuzz_error_packet;
    greeting => fuzz::fuzz_greeting;
    login => fuzz::fuzz_login;
    command => fuzz::fuzz_command;
    execute => fuzz::fuzz_execute;
    server_auth => fuzz::fuzz_server_auth;
    client_auth => fuzz::fuzz_client_auth;
    public_key => fuzz::fuzz_public_key;
    response => fuzz::fuzz_response;
    ok => fuzz::fuzz_ok;
    gtid => fuzz::fuzz_gtid;
}
