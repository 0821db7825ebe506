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

    /// One seed, or the beginning of one and the end of another, mutated.
    fn splice(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let (one, other) = (&seeds[self.roll(seeds.len())], &seeds[self.roll(seeds.len())]);
        let mut data = one.clone();
        if self.roll(3) == 0 {
            data.truncate(self.roll(one.len() + 1));
            data.extend_from_slice(&other[self.roll(other.len() + 1)..]);
        }
        for _ in 0..self.roll(3) {
            data = self.mutate(&data);
        }
        data
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
    entry(&[]);
    let mut dice = Dice(0x51_u64);
    for seed in seeds(name) {
        entry(&seed);
        for _ in 0..rounds {
            entry(&dice.mutate(&seed));
        }
    }
}

/// The files of one entry.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds in {}", folder.display());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

macro_rules! corpus {
    ($($name:ident => $entry:path;)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name), $entry);
        })*

        /// All of them by name.
        const ENTRIES: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $entry)),*];
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
    compression => fuzz::fuzz_compression;
}

/// Runs every entry in turn until `SLUICE_FUZZ_SECONDS` are over, with other mutations each time: `make fuzz`.
#[test]
#[ignore = "takes as long as it is told to"]
fn every_decoder_for_a_while() {
    let seconds = std::env::var("SLUICE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let start = std::env::var("SLUICE_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    let start = start.unwrap_or(u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap());
    println!("SLUICE_FUZZ_SEED={start}");
    let mut dice = Dice(start);
    let seeds: Vec<Vec<Vec<u8>>> = ENTRIES.iter().map(|(name, _)| seeds(name)).collect();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    let mut counts = vec![0u64; ENTRIES.len()];
    while std::time::Instant::now() < end {
        for ((name, entry), (seeds, count)) in ENTRIES.iter().zip(seeds.iter().zip(&mut counts)) {
            // Keys and passwords take a thousand times as long as a decoder.
            let rounds =
                if matches!(*name, "server_auth" | "client_auth" | "public_key") { 20 } else { 2_000 };
            for _ in 0..rounds {
                let input = dice.splice(seeds);
                *count += 1;
                if std::panic::catch_unwind(|| entry(&input)).is_err() {
                    panic!("{name} fails on \"{}\"", input.escape_ascii());
                }
            }
        }
    }
    for ((name, _), count) in ENTRIES.iter().zip(counts) {
        println!("{name}: {count} inputs");
    }
}
