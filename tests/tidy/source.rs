//! A Rust file with its comments and literals blanked out, so that looking for words is looking at code.

use std::path::{Path, PathBuf};

/// One file of the project.
pub struct Source {
    /// Path from the checkout's root.
    pub path: String,
    /// The text as it is.
    pub text: String,
    /// The text with comments and literals blanked out; same length in bytes, same lines.
    pub code: String,
    /// `code` without test modules.
    pub production: String,
    /// Whether the whole file is test code: below `tests/`, or a module that is only built for tests.
    pub is_test: bool,
}

impl Source {
    /// Lines of the file.
    pub fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// The line (from 1) of a byte offset.
    pub fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }
}

/// Every Rust file below `root`, without what is generated or downloaded.
pub fn all(root: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
            if path.is_dir() && !skipped {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let mut sources: Vec<Source> = files.iter().map(|path| read(root, path)).collect();
    let test_modules: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        source.is_test |= test_modules.contains(&source.path);
    }
    sources
}

/// The files of `#[cfg(test)] mod name;` in `source`.
fn test_modules(source: &Source) -> Vec<String> {
    let path = source.path.trim_end_matches(".rs");
    let folder = ["/lib", "/main"].iter().find_map(|root| path.strip_suffix(root)).unwrap_or(path);
    let attributes = source.code.match_indices("#[cfg(test)]");
    let names = attributes.filter_map(|(at, attribute)| {
        let item = source.code[at + attribute.len()..].trim_start();
        let item = item.strip_prefix("pub(crate) ").or(item.strip_prefix("pub(super) ")).unwrap_or(item);
        let (name, _) = item.strip_prefix("mod ")?.split_once(';')?;
        name.bytes().all(is_word).then_some(name)
    });
    names.map(|name| format!("{folder}/{name}.rs")).collect()
}

fn read(root: &Path, path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap();
    let code = blank(&text);
    let production = without_tests(&code);
    let path = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
    let is_test = path.starts_with("tests/") || path.contains("/tests/");
    Source { path, text, code, production, is_test }
}

/// Replaces comments and literals by spaces.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_or_comment_end(bytes, at);
        if let Some(end) = end {
            for byte in &mut out[at..end.min(bytes.len())] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            at = end;
        } else {
            at += 1;
            // A word is passed in one go: its `r` or `b` begins no literal.
            while is_word(bytes[at - 1]) && at < bytes.len() && is_word(bytes[at]) {
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn literal_or_comment_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let prefix = [&b"br"[..], b"cr", b"r", b"b", b"c"].into_iter().find(|prefix| {
        let after = rest.get(prefix.len()).copied();
        let raw = prefix.ends_with(b"r");
        rest.starts_with(prefix) && (after == Some(b'"') || raw && after == Some(b'#'))
    });
    let raw = prefix.is_some_and(|prefix| prefix.ends_with(b"r"));
    let start = at + prefix.map_or(0, <[u8]>::len);
    match rest[0] {
        b'/' if rest.get(1) == Some(&b'/') => Some(at + until(rest, b"\n")),
        b'/' if rest.get(1) == Some(&b'*') => Some(block_comment_end(bytes, at)),
        _ if raw => raw_string_end(bytes, start),
        b'"' => Some(quoted_end(bytes, start, b'"')),
        _ if prefix.is_some() => Some(quoted_end(bytes, start, b'"')),
        b'\'' => char_end(bytes, at),
        _ => None,
    }
}

fn until(rest: &[u8], stop: &[u8]) -> usize {
    rest.windows(stop.len()).position(|window| window == stop).unwrap_or(rest.len())
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(start + hashes) != Some(&b'"') {
        return None; // r#keyword
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let body = start + hashes + 1;
    Some(body + until(&bytes[body..], &close) + close.len())
}

fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of a character literal; `None` for a lifetime.
fn char_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start + 1) == Some(&b'\\') {
        return Some(quoted_end(bytes, start, b'\''));
    }
    // One character of up to four bytes, then the closing quote.
    let close = (start + 2..=start + 5).find(|at| bytes.get(*at) == Some(&b'\''))?;
    let body = std::str::from_utf8(bytes.get(start + 1..close)?).ok()?;
    (body.chars().count() == 1).then_some(close + 1)
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Blanks out what follows `#[cfg(test)]`: a module, function, use or constant.
fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = item_end(code, start);
        for byte in &mut out[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        from = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of the item that begins at `start`: its closing brace, or its semicolon.
pub fn item_end(code: &str, start: usize) -> usize {
    let (mut braces, mut brackets) = (0, 0);
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b'{' => braces += 1,
            b'}' => braces -= 1,
            _ => {}
        }
        if braces == 0 && brackets == 0 && matches!(byte, b'}' | b';') {
            return at + 1;
        }
    }
    code.len()
}

/// Where `word` stands in `code` as a word of its own (a path such as `a::b` counts as one).
pub fn occurrences(code: &str, word: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    let apart = |at: usize| {
        let end = at + word.len();
        let before = at.checked_sub(1).map(|before| bytes[before]);
        let starts_apart = !is_word(word.as_bytes()[0]) || before.is_none_or(|before| !is_word(before));
        let ends_word = word.bytes().last().is_some_and(is_word);
        starts_apart && (!ends_word || bytes.get(end).is_none_or(|after| !is_word(*after)))
    };
    code.match_indices(word).map(|(at, _)| at).filter(|at| apart(*at)).collect()
}
