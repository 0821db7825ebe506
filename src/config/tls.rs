//! Reading `[tls.client]` and `[tls.instance]`.

use std::path::PathBuf;

use super::section::{Located, Section};
use super::{ClientTls, ClientTlsMode, InstanceTls, InstanceTlsMode};

/// Reads `[tls]`.
pub(super) fn tls(section: Section<'_>) -> (ClientTls, InstanceTls) {
    let tls = (client(section.child("client")), instance(section.child("instance")));
    section.finish();
    tls
}

/// The path in `key`, of a file that can be read; `None` may have been noted.
fn file(section: &Section<'_>, key: &'static str) -> Option<Located<PathBuf>> {
    let name = section.text(key)?;
    let path = section.notes().surroundings.base_dir.join(&name.value);
    if let Err(error) = std::fs::File::open(&path) {
        section.bad(key, name.line, &format!("can't read {}: {error}", path.display()));
        return None;
    }
    Some(Located { value: path, line: name.line })
}

/// `cert` and `key`, both or none.
fn pair(section: &Section<'_>) -> Option<(PathBuf, PathBuf)> {
    match (section.has("cert"), section.has("key")) {
        (true, false) => section.missing("key", "a certificate needs its key"),
        (false, true) => section.missing("cert", "a key needs its certificate"),
        (true, true) | (false, false) => {}
    }
    match (file(section, "cert"), file(section, "key")) {
        (Some(cert), Some(key)) => Some((cert.value, key.value)),
        _ => None,
    }
}

/// `ca`, which belongs to modes that verify and to no other.
fn ca(section: &Section<'_>, verifies: bool, modes: &str) -> Option<PathBuf> {
    let ca = file(section, "ca");
    match section.text("ca") {
        Some(given) if !verifies => {
            section.bad("ca", given.line, &format!("has no effect unless mode is {modes}"));
        }
        None if verifies && !section.has("ca") => {
            section.missing("ca", &format!("mode {modes} needs a CA file (PEM)"));
        }
        Some(_) | None => {}
    }
    ca.map(|ca| ca.value)
}

fn client(section: Section<'_>) -> ClientTls {
    let modes = [
        ("disabled", Some(ClientTlsMode::Disabled)),
        ("preferred", Some(ClientTlsMode::Preferred)),
        ("required", Some(ClientTlsMode::Required)),
        ("verify-ca", Some(ClientTlsMode::VerifyCa)),
    ];
    let mode = section.choice("mode", &modes, ClientTlsMode::Preferred);
    let tls = ClientTls {
        mode,
        files: pair(&section),
        ca: ca(&section, mode == ClientTlsMode::VerifyCa, "verify-ca"),
    };
    section.finish();
    tls
}

fn instance(section: Section<'_>) -> InstanceTls {
    let modes = [
        ("disabled", Some(InstanceTlsMode::Disabled)),
        ("preferred", Some(InstanceTlsMode::Preferred)),
        ("required", Some(InstanceTlsMode::Required)),
        ("verify-ca", Some(InstanceTlsMode::VerifyCa)),
        ("verify-identity", Some(InstanceTlsMode::VerifyIdentity)),
    ];
    let mode = section.choice("mode", &modes, InstanceTlsMode::Preferred);
    let verifies = matches!(mode, InstanceTlsMode::VerifyCa | InstanceTlsMode::VerifyIdentity);
    let tls = InstanceTls {
        mode,
        ca: ca(&section, verifies, "verify-ca or verify-identity"),
        files: pair(&section),
    };
    section.finish();
    tls
}
