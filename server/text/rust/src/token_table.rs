//! The bytes of every token, so that decoding is a table lookup on the C++ side: streaming then needs no
//! look back. Which bytes and which edge rules follow from the tokenizer's decoder, as its own decode()
//! would apply them (https://github.com/huggingface/tokenizers, tokenizers/src/decoders).

use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{DecoderWrapper, Tokenizer};

use crate::abi::{Failure, Outcome};

pub const SPECIAL: u8 = 1;
/// A lone byte (`<0xE4>`): a malformed sequence of such bytes becomes one U+FFFD each.
pub const FALLBACK_BYTE: u8 = 2;

const MAX_VOCABULARY: usize = 4 << 20;

/// How a decoder turns a token's text into bytes, and what it does at the beginning of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoding {
    byte_level: bool,
    replacements: Vec<(String, String)>,
    byte_fallback: bool,
    pub strip_leading_spaces: u32,
    pub drop_spaces_of_first_token: bool,
}

pub struct TokenTable {
    pub decoding: Decoding,
    pub offsets: Vec<u32>,
    pub bytes: Vec<u8>,
    pub flags: Vec<u8>,
}

impl Decoding {
    pub fn of(tokenizer: &Tokenizer) -> Outcome<Self> {
        let mut decoding = Self::default();
        match tokenizer.get_decoder() {
            None => {
                return Err(Failure::unsupported(
                    "The tokenizer has no decoder, so its tokens cannot become text: tokenizer.json needs a \
                     ByteLevel, Metaspace or Replace/ByteFallback/Fuse decoder.",
                ))
            }
            Some(DecoderWrapper::Sequence(steps)) => {
                for step in steps.get_decoders() {
                    decoding.add(step)?;
                }
            }
            Some(step) => decoding.add(step)?,
        }
        Ok(decoding)
    }

    fn add(&mut self, step: &DecoderWrapper) -> Outcome<()> {
        match step {
            DecoderWrapper::ByteLevel(_) => self.byte_level = true,
            DecoderWrapper::ByteFallback(_) => self.byte_fallback = true,
            DecoderWrapper::Fuse(_) => {}
            DecoderWrapper::Strip(strip) if strip.content == ' ' && strip.stop == 0 && strip.start <= 16 => {
                self.strip_leading_spaces = strip.start as u32;
            }
            DecoderWrapper::Replace(replace) => {
                // The pattern is private; the serialized form is the documented one of tokenizer.json.
                let json = serde_json::to_value(replace).map_err(Failure::internal)?;
                let pattern = json["pattern"]["String"].as_str().ok_or_else(|| {
                    Failure::unsupported(
                        "The tokenizer's Replace decoder has a regular expression, not a string.",
                    )
                })?;
                self.replacements.push((pattern.to_string(), replace.content.clone()));
            }
            DecoderWrapper::Metaspace(metaspace) => {
                self.replacements.push((metaspace.get_replacement().to_string(), " ".to_string()));
                self.drop_spaces_of_first_token = metaspace.get_prepend_scheme() != PrependScheme::Never;
            }
            other => {
                let json = serde_json::to_value(other).unwrap_or_default();
                let kind = json["type"].as_str().unwrap_or("unnamed").to_string();
                return Err(Failure::unsupported(format!(
                    "The tokenizer's {kind} decoder is not supported; ByteLevel, Metaspace and sequences \
                     of Replace, \
                     ByteFallback, Fuse and Strip are."
                )));
            }
        }
        Ok(())
    }
}

impl TokenTable {
    /// `tokens`: (id, text, flags) in any order.
    pub fn build<'a>(
        decoding: Decoding,
        size: usize,
        tokens: impl Iterator<Item = (u32, &'a str, u8)>,
    ) -> Outcome<Self> {
        if size > MAX_VOCABULARY {
            return Err(Failure::corrupt(format!(
                "The tokenizer's ids reach {size}; at most {MAX_VOCABULARY} are supported."
            )));
        }
        let mut texts: Vec<(&str, u8)> = vec![("", 0); size];
        for (id, text, flags) in tokens {
            texts[id as usize] = (text, flags);
        }
        let mut table = Self {
            offsets: Vec::with_capacity(size + 1),
            bytes: Vec::with_capacity(size * 8),
            flags: Vec::with_capacity(size),
            decoding,
        };
        let byte_of = byte_level_alphabet();
        table.offsets.push(0);
        for (text, flags) in texts {
            let fallback = table.push_bytes(text, &byte_of);
            table.flags.push(flags | if fallback { FALLBACK_BYTE } else { 0 });
            let end = u32::try_from(table.bytes.len())
                .map_err(|_| Failure::corrupt("The tokenizer's tokens are longer than 4 GiB together."))?;
            table.offsets.push(end);
        }
        Ok(table)
    }

    pub fn len(&self) -> usize {
        self.flags.len()
    }

    pub fn bytes_of(&self, id: usize) -> &[u8] {
        &self.bytes[self.offsets[id] as usize..self.offsets[id + 1] as usize]
    }

    fn push_bytes(&mut self, text: &str, byte_of: &[Option<u8>; ALPHABET]) -> bool {
        if self.decoding.byte_level {
            let at = self.bytes.len();
            for c in text.chars() {
                match byte_of.get(c as usize).copied().flatten() {
                    Some(byte) => self.bytes.push(byte),
                    None => {
                        // One foreign character: the token stands for its own text.
                        self.bytes.truncate(at);
                        self.bytes.extend_from_slice(text.as_bytes());
                        break;
                    }
                }
            }
            return false;
        }
        let mut text = std::borrow::Cow::Borrowed(text);
        for (from, to) in &self.decoding.replacements {
            if !from.is_empty() && text.contains(from.as_str()) {
                text = text.replace(from.as_str(), to).into();
            }
        }
        if self.decoding.byte_fallback {
            if let Some(byte) = fallback_byte(&text) {
                self.bytes.push(byte);
                return true;
            }
        }
        self.bytes.extend_from_slice(text.as_bytes());
        false
    }
}

fn fallback_byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

const ALPHABET: usize = 324;

/// GPT-2's printable stand-ins for bytes, reversed: bytes that print stand for themselves, the others in
/// order take the code points from 256 (https://github.com/openai/gpt-2, encoder.py, bytes_to_unicode).
fn byte_level_alphabet() -> [Option<u8>; ALPHABET] {
    let mut byte_of = [None; ALPHABET];
    let mut next = 256;
    for byte in 0..=255u8 {
        let prints = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let code = if prints {
            byte as usize
        } else {
            next += 1;
            next - 1
        };
        byte_of[code] = Some(byte);
    }
    byte_of
}
