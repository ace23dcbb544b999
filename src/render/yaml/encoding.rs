//! What a file that is no UTF-8 probably is. Pure.
//!
//! PowerShell's `>` writes UTF-16: a manifest in it is as good as any to its author, and unreadable here and to kubectl.

use std::borrow::Cow;
use std::fmt;

/// Bytes that are looked at where no byte-order mark says what a file is.
const LOOKED_AT: usize = 256;

/// An encoding of Unicode other than UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-16, little-endian.
    Utf16Le,
    /// UTF-16, big-endian.
    Utf16Be,
    /// UTF-32 of either order.
    Utf32,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf16Le | Self::Utf16Be => "UTF-16, as PowerShell's `>` writes it",
            Self::Utf32 => "UTF-32",
        })
    }
}

/// What a file looks like; `None` for UTF-8, and for what is no text at all.
pub(super) fn guess(bytes: &[u8]) -> Option<Encoding> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some(Encoding::Utf32),
        [0xff, 0xfe, ..] => return Some(Encoding::Utf16Le),
        [0xfe, 0xff, ..] => return Some(Encoding::Utf16Be),
        _ => {}
    }
    // Without a mark: letters of ASCII have a zero byte beside each of them, always on the same side.
    let looked_at = bytes.get(..LOOKED_AT).unwrap_or(bytes);
    let zeros = |side: usize| looked_at.iter().skip(side).step_by(2).filter(|byte| **byte == 0).count();
    let most = |zeros: usize| looked_at.len() >= 8 && zeros * 4 >= looked_at.len();
    match (zeros(0), zeros(1)) {
        (0, odd) if most(odd) => Some(Encoding::Utf16Le),
        (even, 0) if most(even) => Some(Encoding::Utf16Be),
        _ => None,
    }
}

/// The file as its author reads it, for a look at what it might be; `None` where it is no text.
pub fn readable(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let units = |of: fn([u8; 2]) -> u16| -> String {
        let pairs = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(of);
        char::decode_utf16(pairs).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match guess(bytes) {
        Some(Encoding::Utf16Le) => Some(units(u16::from_le_bytes).into()),
        Some(Encoding::Utf16Be) => Some(units(u16::from_be_bytes).into()),
        // Whoever writes this writes ASCII between the zeros.
        Some(Encoding::Utf32) => {
            Some(bytes.iter().filter(|byte| byte.is_ascii() && **byte != 0).map(|byte| char::from(*byte)).collect())
        }
        None => match String::from_utf8_lossy(bytes) {
            Cow::Owned(_) if bytes.contains(&0) => None,
            text => Some(text),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        let units = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        let little = |text: &str| units(text).into_iter().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        let big = |text: &str| units(text).into_iter().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
        let wide = |text: &str| text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect::<Vec<_>>();
        for (bytes, expected) in [
            (little("\u{feff}kind: x"), Some(Encoding::Utf16Le)),
            (little("kind: x # grün"), Some(Encoding::Utf16Le)),
            (big("\u{feff}kind: x"), Some(Encoding::Utf16Be)),
            (big("kind: x"), Some(Encoding::Utf16Be)),
            (wide("\u{feff}kind: x"), Some(Encoding::Utf32)),
            (b"kind: x".to_vec(), None),
            (b"kind: x # gr\xfcn".to_vec(), None),
        ] {
            assert_eq!(guess(&bytes), expected, "{bytes:?}");
            assert!(readable(&bytes).unwrap().contains("kind: x"), "{bytes:?}");
        }
        assert_eq!(readable(b"\0GITCRYPT\0\xf3\x80\x02"), None);
        assert_eq!((guess(b""), guess(b"\0"), readable(b"")), (None, None, Some("".into())));
    }
}
