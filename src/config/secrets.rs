//! Passwords and tokens: from the text, a file or the environment, exactly one of them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::section::{Located, Section};
use super::{Account, Secret};

/// Permission bits that let anybody on the machine read a file.
const READABLE_BY_ALL: u32 = 0o004;
/// Longer files are not passwords or tokens.
const MAX_SECRET_BYTES: u64 = 4096;
/// A token shorter than this can be guessed.
const MIN_TOKEN_CHARS: usize = 16;

/// Reads an account; `None` when something was missing or wrong (which has been noted).
pub(super) fn account(section: &Section<'_>, meaning: &str) -> Option<Account> {
    if !section.is_present() {
        section.missing("user", meaning);
        return None;
    }
    let user = section.required_text("user", "the MySQL user name");
    let password = password(section);
    let user = user?;
    if user.value.chars().count() > super::rules::MAX_USER_CHARS {
        section.bad("user", user.line, "MySQL user names have at most 32 characters");
        return None;
    }
    Some(Account { user: user.value, password: password? })
}

fn password(section: &Section<'_>) -> Option<Secret> {
    let inline = section.text("password");
    let file = section.text("password_file");
    let variable = section.text("password_env");
    let given = [inline.is_some(), file.is_some(), variable.is_some()];
    match given.iter().filter(|given| **given).count() {
        0 => {
            let message = "give one of password, password_file, password_env";
            section.missing("password", message);
            None
        }
        1 => from_text(section, inline).or_else(|| from_file(section, "password_file", file)).or_else(|| {
            let variable = variable?;
            from_environment(section, &variable)
        }),
        _ => {
            let line = [&inline, &file, &variable].into_iter().flatten().map(|text| text.line).max();
            let message = "give only one of password, password_file, password_env";
            section.bad("password", line.or(section.line()).unwrap_or(1), message);
            None
        }
    }
}

fn from_text(section: &Section<'_>, text: Option<Located<String>>) -> Option<Secret> {
    let text = text?;
    let first = section.notes().inline_secret.get().map_or(text.line, |line| line.min(text.line));
    section.notes().inline_secret.set(Some(first));
    Some(Secret::new(text.value))
}

fn from_environment(section: &Section<'_>, variable: &Located<String>) -> Option<Secret> {
    match (section.notes().surroundings.environment)(&variable.value) {
        Some(value) if !value.is_empty() => Some(Secret::new(value)),
        Some(_) | None => {
            let message = format!("the environment variable {} is not set", variable.value);
            section.bad("password_env", variable.line, &message);
            None
        }
    }
}

fn from_file(section: &Section<'_>, key: &'static str, name: Option<Located<String>>) -> Option<Secret> {
    let name = name?;
    let path = section.notes().surroundings.base_dir.join(&name.value);
    match read_secret_file(&path) {
        Ok(secret) => Some(secret),
        Err(message) => {
            section.bad(key, name.line, &message);
            None
        }
    }
}

/// Reads a file that holds one secret; the error is for people.
pub fn read_secret_file(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| format!("can't read {shown}: {error}"))?;
    if !metadata.is_file() || metadata.len() > MAX_SECRET_BYTES {
        return Err(format!("{shown} is not a small file with one secret"));
    }
    if let Some(message) = readable_by_all(path, metadata.permissions().mode()) {
        return Err(message);
    }
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| format!("can't read {shown}: {error}"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(format!("{shown} is empty"));
    }
    Ok(Secret::new(secret.to_owned()))
}

/// Why a file with these permissions must not hold a secret.
pub(super) fn readable_by_all(path: &Path, mode: u32) -> Option<String> {
    (mode & READABLE_BY_ALL != 0).then(|| {
        let shown = path.display();
        format!("{shown} holds a password and everybody can read it; type `chmod 640 {shown}`")
    })
}

/// Reads `[admin]`.
pub(super) fn admin_token(section: &Section<'_>) -> Option<Secret> {
    let name = section.text("token_file");
    let line = name.as_ref().map(|name| name.line);
    let token = from_file(section, "token_file", name)?;
    if token.read().chars().count() < MIN_TOKEN_CHARS {
        let message = format!("a token needs at least {MIN_TOKEN_CHARS} characters");
        section.bad("token_file", line.unwrap_or(1), &message);
        return None;
    }
    Some(token)
}
