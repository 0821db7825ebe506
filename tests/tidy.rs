//! The project's habits, as a test: sizes, names, directions between rooms, and what must not be written.
//!
//! It reads the sources of the checkout and needs nothing but the standard library.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, unreachable_pub, missing_docs)]

#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::path::Path;

use source::{Source, item_end, occurrences};

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["mod", "util", "utils", "common", "helper", "helpers", "manager"];

/// Words that code below a path must not contain, with the exceptions below that path.
struct Ban {
    below: &'static [&'static str],
    except: &'static [&'static str],
    words: &'static [&'static str],
    why: &'static str,
}

/// Directions between the rooms, and purity. Test code is held to them as well, except where `tests/` is not
/// named.
const BANS: &[Ban] = &[
    Ban {
        below: &["protocol/src"],
        except: &[],
        words: &["tokio", "std::net", "Instant", "SystemTime", "sluice_routing", "sluice::", "mysql_async"],
        why: "the protocol knows bytes: no sockets, no clock, no roles",
    },
    Ban {
        below: &["routing/src"],
        except: &[],
        words: &["tokio", "std::net", "Instant::now", "SystemTime", "std::fs", "sluice::", "mysql_async"],
        why: "routing is pure: no I/O, no clock",
    },
    Ban {
        below: &["src/session"],
        except: &[],
        words: &["crate::controller", "crate::admin", "crate::cli"],
        why: "sessions read the topology feed and never talk to the controller",
    },
    Ban {
        below: &["src/backend"],
        except: &[],
        words: &["crate::session", "crate::controller", "crate::admin", "crate::cli"],
        why: "backend connections know nothing of who uses them",
    },
    Ban {
        below: &["src/feed"],
        except: &[],
        words: &["crate::session", "crate::controller", "crate::backend", "crate::admin", "crate::cli"],
        why: "the feed is only what controller and sessions share",
    },
    Ban {
        below: &["src/controller"],
        except: &[],
        words: &["crate::session", "crate::backend", "crate::admin", "crate::cli"],
        why: "the controller knows no client bytes and no user interface",
    },
    Ban {
        below: &["src/admin", "src/cli"],
        except: &[],
        words: &["crate::session", "crate::backend"],
        why: "the public face shows and asks; it decides nothing",
    },
    Ban {
        below: &["src/config"],
        except: &[],
        words: &[
            "crate::session",
            "crate::backend",
            "crate::controller",
            "crate::admin",
            "crate::feed",
            "tokio",
        ],
        why: "the configuration is read before anything runs",
    },
    Ban {
        below: &["src", "protocol", "routing", "bench"],
        except: &[],
        words: &["mysql_async"],
        why: "mysql_async is for tests: Sluice has its own handshake, TLS and packets",
    },
    Ban {
        below: PURE_CONTROLLER,
        except: &[],
        words: &["tokio", "mysql_async", "async", "await", "std::fs", "Instant::now", "SystemTime"],
        why: "the pure files of the controller import nothing that awaits",
    },
];

/// The deciders of the controller.
const PURE_CONTROLLER: &[&str] = &[
    "src/controller/view",
    "src/controller/record",
    "src/controller/assess",
    "src/controller/adopt",
    "src/controller/plan",
    "src/controller/elect",
    "src/controller/failover",
    "src/controller/switchover",
    "src/controller/zones",
    "src/controller/rebuild",
    "src/controller/publish",
    "src/controller/statements",
    "src/controller/grants",
    "src/controller/doctor/accounts",
    "src/controller/doctor/data",
    "src/controller/doctor/facts",
    "src/controller/doctor/members",
    "src/controller/doctor/replication",
    "src/controller/doctor/semi_sync",
    "src/controller/doctor/settings",
];

/// The only test files that sleep: the polling of a condition with a deadline, the pace of a load, and a simulation
/// whose time is not the wall's.
const POLLING: &[&str] =
    &["tests/cluster/src/wait.rs", "tests/demo/src/load", "tests/simulation", "tests/tidy"];

/// Fuzz entry points: their panics are findings.
const FINDINGS: &str = "protocol/src/fuzz";

/// Panics waiting to happen.
const PANICS: [&str; 6] = [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!(", "unimplemented!("];

fn sources() -> Vec<Source> {
    let sources = source::all(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(sources.len() > 30, "only {} files were found", sources.len());
    sources
}

/// Whether `path` is `room`, `room.rs` or below `room/`.
fn is_below(path: &str, room: &str) -> bool {
    path == room || path.strip_prefix(room).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
}

#[track_caller]
fn assert_none(broken: &[String]) {
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn files_are_short_and_have_telling_names() {
    let mut broken = Vec::new();
    for source in sources() {
        if source.lines() > MAX_FILE_LINES {
            broken.push(format!("{}: {} lines, at most {MAX_FILE_LINES}", source.path, source.lines()));
        }
        let path = source.path.trim_end_matches(".rs");
        for name in path.split('/').filter(|name| EMPTY_NAMES.contains(name)) {
            broken.push(format!("{}: \"{name}\" says nothing about what is inside", source.path));
        }
    }
    assert_none(&broken);
}

#[test]
fn functions_are_short() {
    let mut functions = Vec::new();
    for source in sources() {
        for start in occurrences(&source.code, "fn") {
            let rest = source.code[start + 2..].trim_start();
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if name.is_empty() {
                continue; // a function type
            }
            let (first, last) = (source.line(start), source.line(item_end(&source.code, start) - 1));
            functions.push((last - first + 1, format!("{}:{first} {name}", source.path)));
        }
    }
    functions.sort_by(|left, right| right.cmp(left));
    println!("the five longest of {} functions:", functions.len());
    for (lines, place) in functions.iter().take(5) {
        println!("{lines:>5} lines  {place}");
    }
    let long = functions.iter().filter(|(lines, _)| *lines > MAX_FUNCTION_LINES);
    let broken: Vec<_> = long.map(|(lines, place)| format!("{place}: {lines} lines")).collect();
    assert_none(&broken);
}

#[test]
fn rooms_keep_their_directions() {
    let sources = sources();
    let mut broken = Vec::new();
    for ban in BANS {
        for source in &sources {
            let concerned = ban.below.iter().any(|room| is_below(&source.path, room))
                && !ban.except.iter().any(|room| is_below(&source.path, room));
            if !concerned {
                continue;
            }
            // Unit tests may set the stage with what production code must not touch.
            let code = if source.path.starts_with("tests/") { &source.code } else { &source.production };
            if source.is_test && !source.path.starts_with("tests/") {
                continue;
            }
            for word in ban.words {
                for at in occurrences(code, word) {
                    broken.push(format!("{}:{} {word}: {}", source.path, source.line(at), ban.why));
                }
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn the_pure_files_of_the_controller_are_there() {
    let sources = sources();
    let gone = |room: &&&str| !sources.iter().any(|source| source.path == format!("{room}.rs"));
    let broken: Vec<_> =
        PURE_CONTROLLER.iter().filter(gone).map(|room| format!("{room}.rs is gone")).collect();
    assert_none(&broken);
}

#[test]
fn tests_do_not_sleep() {
    let mut broken = Vec::new();
    for source in sources() {
        let lines = source.code.lines().zip(source.production.lines()).enumerate();
        for (number, (code, production)) in lines {
            let test_only = source.is_test || code != production;
            let polls = POLLING.iter().any(|room| is_below(&source.path, room));
            if test_only && !polls && !occurrences(code, "sleep").is_empty() {
                let why = "no sleep as synchronisation: wait for a condition with a deadline";
                broken.push(format!("{}:{} {why}", source.path, number + 1));
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn nothing_outside_of_tests_panics() {
    let mut broken = Vec::new();
    let production = |source: &&Source| !source.is_test && !is_below(&source.path, FINDINGS);
    for source in sources().iter().filter(production) {
        for word in PANICS {
            for at in occurrences(&source.production, word) {
                broken.push(format!("{}:{} {word}", source.path, source.line(at)));
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn rooms_say_what_they_never_do() {
    let sources = sources();
    let mut broken = Vec::new();
    for source in &sources {
        let inside = source.path.trim_end_matches(".rs").to_owned() + "/";
        let crate_root = source.path.ends_with("src/lib.rs") && source.path != "src/lib.rs";
        let room = sources.iter().any(|other| other.path.starts_with(&inside));
        let top_room = room && source.path.starts_with("src/") && source.path.matches('/').count() == 1;
        let comment: Vec<&str> = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        let comment = comment.join("\n");
        if (crate_root || top_room) && !["Never here", "must never"].iter().any(|word| comment.contains(word))
        {
            broken.push(format!("{}: its top comment has to end with what it must never do", source.path));
        }
    }
    assert_none(&broken);
}

#[test]
fn nothing_is_left_for_later() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| !source.path.starts_with("tests/tidy")) {
        for word in ["TODO", "FIXME", "XXX", "HACK"] {
            for at in occurrences(&source.text, word) {
                broken.push(format!("{}:{} {word}", source.path, source.line(at)));
            }
        }
    }
    assert_none(&broken);
}

/// The metrics named in `text`: words that begin with `sluice_` right after `before`.
fn metrics_in(text: &str, before: &str) -> BTreeSet<String> {
    let start = format!("{before}sluice_");
    let found = text.match_indices(&start).map(|(at, _)| &text[at + before.len()..]);
    found.map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()).collect()
}

#[test]
fn the_readme_lists_the_metrics() {
    let production = |source: &Source| source.path.starts_with("src/") && !source.is_test;
    let emitted: BTreeSet<String> = sources()
        .iter()
        .filter(|source| production(source))
        .flat_map(|source| {
            let macros = ["counter!(\"", "gauge!(\"", "histogram!(\""];
            macros.into_iter().flat_map(|name| metrics_in(&source.text, name)).collect::<Vec<_>>()
        })
        .collect();
    let readme = include_str!("../README.md");
    assert_eq!(emitted, metrics_in(readme, "| `"), "left: in the sources, right: in the README");
}

#[test]
fn the_lexer_of_this_test_works() {
    let code =
        source::blank("a(\"fn x { \\\" }\"); // fn\n'{' 'a r#\"{\"#; b'\\'' /* { /* */ } */ fn f<'a>() {}");
    assert!(!code.contains('"') && code.contains("fn f<'a>() {}"), "{code}");
    assert_eq!(code.matches('{').count(), 1, "{code}");
    assert_eq!(occurrences("sleep asleep time::sleep(1)", "sleep").len(), 2);
    assert_eq!(item_end("fn f(a: [u8; 2]) -> B { { } } fn g", 0), 29);
}
