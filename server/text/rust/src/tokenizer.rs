//! The tokenizer handle: a tokenizers::Tokenizer, its table of token bytes, and text that may or may not
//! spell special tokens. Immutable; shared by threads.

use std::sync::OnceLock;

use ahash::AHashMap;
use tokenizers::{Model, OffsetType, PostProcessor, PreTokenizedString, PreTokenizer, Tokenizer};

use crate::abi::{answer, catch, free, Buffer, Failure, IdBuffer, Outcome, View};
use crate::added_tokens::AddedTokens;
use crate::gguf_vocabulary::{self, Vocabulary};
use crate::token_table::{Decoding, TokenTable, SPECIAL};

/// One text to encode; a prompt that fills the longest context is some megabytes.
const MAX_TEXT_BYTES: usize = 64 << 20;

pub struct TextTokenizer {
    pub inner: Tokenizer,
    pub added: AddedTokens,
    pub table: TokenTable,
    /// llguidance's view of the vocabulary, made when the first grammar needs it.
    pub grammars: OnceLock<Result<crate::matcher::Grammars, String>>,
}

impl TextTokenizer {
    pub fn from_json(json: &[u8]) -> Outcome<Self> {
        let unreadable = |error: String| Failure::corrupt(format!("tokenizer.json cannot be read: {error}."));
        // The library meets some malformed members with a panic.
        let mut inner = catch(|| Tokenizer::from_bytes(json))
            .map_err(unreadable)?
            .map_err(|error| unreadable(error.to_string()))?;
        // Both may be left over from training; whoever encodes decides about length.
        inner.with_truncation(None).map_err(Failure::internal)?;
        inner.with_padding(None);
        let vocabulary: AHashMap<String, u32> = inner.get_vocab(true).into_iter().collect();
        let size = vocabulary.values().max().map_or(0, |id| *id as usize + 1);
        let added = inner.get_added_tokens_decoder();
        let special = |id: &u32| added.get(id).is_some_and(|token| token.special);
        let tokens =
            vocabulary.iter().map(|(text, id)| (*id, text.as_str(), if special(id) { SPECIAL } else { 0 }));
        let table = TokenTable::build(Decoding::of(&inner)?, size, tokens)?;
        Ok(Self::new(inner, table))
    }

    pub fn new(inner: Tokenizer, table: TokenTable) -> Self {
        Self { added: AddedTokens::of(&inner), inner, table, grammars: OnceLock::new() }
    }

    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Outcome<Vec<u32>> {
        check_size(text)?;
        let pieces = if parse_special {
            self.inner.get_added_vocabulary().extract_and_normalize(self.inner.get_normalizer(), text)
        } else {
            self.added.split_plain(&self.inner, text)
        };
        self.encode_pieces(pieces, add_special)
    }

    /// `text` is a rendered conversation whose client strings were guarded (added_tokens.rs).
    pub fn encode_guarded(&self, text: &str, guard: char) -> Outcome<Vec<u32>> {
        check_size(text)?;
        let mut pieces =
            self.inner.get_added_vocabulary().extract_and_normalize(self.inner.get_normalizer(), text);
        pieces
            .normalize(|piece| {
                if piece.get().contains(guard) {
                    piece.filter(|c| c != guard);
                }
                Ok(())
            })
            .map_err(Failure::internal)?;
        self.encode_pieces(pieces, false)
    }

    fn encode_pieces(&self, mut pieces: PreTokenizedString, add_special: bool) -> Outcome<Vec<u32>> {
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces).map_err(Failure::internal)?;
        }
        self.inner.get_model().tokenize_in_pretokenized(&mut pieces, None).map_err(Failure::internal)?;
        let encoding = pieces.into_encoding(None, 0, OffsetType::None).map_err(Failure::internal)?;
        let encoding = match self.inner.get_post_processor() {
            Some(processor) => processor.process(encoding, None, add_special).map_err(Failure::internal)?,
            None => encoding,
        };
        Ok(encoding.get_ids().to_vec())
    }
}

fn check_size(text: &str) -> Outcome<()> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Failure::invalid_argument(format!(
            "The text has {} bytes; at most {MAX_TEXT_BYTES} are encoded.",
            text.len()
        )));
    }
    Ok(())
}

/// Borrowed from the tokenizer, alive as long as it is. The same layout as SluiceTextTable.
#[repr(C)]
pub struct TableView {
    token_count: usize,
    offsets: *const u32,
    bytes: *const u8,
    flags: *const u8,
    strip_leading_spaces: u32,
    drop_spaces_of_first_token: bool,
}

/// # Safety
/// `json` is readable; `out` and `message` are writable.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_tokenizer_from_json(
    json: View,
    out: *mut *mut TextTokenizer,
    message: *mut Buffer,
) -> i32 {
    answer(out, message, || Ok(Box::into_raw(Box::new(TextTokenizer::from_json(json.bytes())?))))
}

/// # Safety
/// `vocabulary` and all it points to are readable; `out` and `message` are writable.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_tokenizer_from_vocabulary(
    vocabulary: *const Vocabulary,
    out: *mut *mut TextTokenizer,
    message: *mut Buffer,
) -> i32 {
    answer(out, message, || Ok(Box::into_raw(Box::new(gguf_vocabulary::tokenizer(&*vocabulary)?))))
}

/// # Safety
/// `tokenizer` is freed once, when nobody uses it.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_tokenizer_free(tokenizer: *mut TextTokenizer) {
    free(tokenizer);
}

/// # Safety
/// `tokenizer` is alive; `text` is readable; `out` and `message` are writable.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_encode(
    tokenizer: *const TextTokenizer,
    text: View,
    add_special: bool,
    parse_special: bool,
    out: *mut IdBuffer,
    message: *mut Buffer,
) -> i32 {
    answer(out, message, || Ok((*tokenizer).encode(&text.text(), add_special, parse_special)?.into()))
}

/// # Safety
/// `tokenizer` is alive and outlives the view.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_table(tokenizer: *const TextTokenizer) -> TableView {
    let table = &(*tokenizer).table;
    TableView {
        token_count: table.len(),
        offsets: table.offsets.as_ptr(),
        bytes: table.bytes.as_ptr(),
        flags: table.flags.as_ptr(),
        strip_leading_spaces: table.decoding.strip_leading_spaces,
        drop_spaces_of_first_token: table.decoding.drop_spaces_of_first_token,
    }
}

/// # Safety
/// `tokenizer` is alive; `token` is readable.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_id_of(tokenizer: *const TextTokenizer, token: View) -> i64 {
    (*tokenizer).inner.token_to_id(&token.text()).map_or(-1, i64::from)
}
