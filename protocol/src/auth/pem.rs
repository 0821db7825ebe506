//! PEM of a public key: the armour and its base64.
//!
//! It reads one block of one kind, strictly, and nothing a private key could be in.

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
const LINE: usize = 64;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// DER in PEM armour, lines of 64 characters, as OpenSSL writes it.
pub(super) fn encode(der: &[u8]) -> String {
    let mut out = String::with_capacity(der.len() * 2 + BEGIN.len() + END.len());
    out.push_str(BEGIN);
    let mut column = LINE;
    for chunk in der.chunks(3) {
        if column == LINE {
            out.push('\n');
            column = 0;
        }
        let mut word = [0; 3];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        let [a, b, c] = word;
        let bits = u32::from_be_bytes([0, a, b, c]);
        for digit in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * digit) & 0x3f).unwrap_or_default();
            let symbol = ALPHABET.get(index).copied().unwrap_or(b'=');
            out.push(if digit > chunk.len() { '=' } else { char::from(symbol) });
        }
        column += 4;
    }
    out.push('\n');
    out.push_str(END);
    out.push('\n');
    out
}

/// The DER within the first PEM block; `None` if it is not of its form.
pub(super) fn decode(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, inside) = text.split_once(BEGIN)?;
    let (body, _) = inside.split_once(END)?;
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    let (mut bits, mut filled, mut padding) = (0u32, 0, 0);
    for symbol in body.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = match symbol {
            b'=' if filled >= 2 => {
                padding += 1;
                0
            }
            _ if padding > 0 => return None,
            symbol => u32::try_from(ALPHABET.iter().position(|known| *known == symbol)?).ok()?,
        };
        bits = bits << 6 | value;
        filled += 1;
        if filled == 4 {
            let [_, a, b, c] = bits.to_be_bytes();
            out.extend([a, b, c].into_iter().take(3 - padding));
            (bits, filled) = (0, 0);
        }
    }
    (filled == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_the_usual_base64() {
        assert_eq!(encode(b"Many hands"), format!("{BEGIN}\nTWFueSBoYW5kcw==\n{END}\n"));
        assert_eq!(decode(format!("{BEGIN}TWF\r\nu{END}").as_bytes()), Some(b"Man".to_vec()));
        for broken in ["TWF", "TW=u", "T===", "TWFu=", "TWF*", "TWE=TWFu", "=", "===="] {
            assert_eq!(decode(format!("{BEGIN}{broken}{END}").as_bytes()), None, "{broken}");
        }
        assert_eq!(decode(b"-----BEGIN PRIVATE KEY-----TWFu-----END PRIVATE KEY-----"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(der: Vec<u8>) {
            prop_assert_eq!(decode(encode(&der).as_bytes()), Some(der));
        }
    }
}
