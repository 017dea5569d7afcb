//! Grammars over tokens: llguidance's matcher for a JSON schema, a regular expression or a Lark grammar,
//! with its trie of the vocabulary built when the first grammar asks for it. A matcher belongs to one
//! thread at a time.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};

use crate::abi::{answer, free, Buffer, Failure, Outcome, View};
use crate::token_table::{TokenTable, SPECIAL};
use crate::tokenizer::TextTokenizer;

/// A grammar's source; bigger ones are refused before they are parsed.
const MAX_GRAMMAR_BYTES: usize = 1 << 20;

pub struct Grammars {
    factory: ParserFactory,
}

/// Tokenizes greedily by the trie: what the grammar forces needs no canonical tokens, because forced tokens
/// are not used.
struct Vocabulary {
    trie: TokTrie,
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(bytes)
    }
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

impl Grammars {
    fn new(table: &TokenTable, eos: u32) -> Result<Self, String> {
        let words: Vec<Vec<u8>> = (0..table.len())
            .map(|id| {
                let mut word = Vec::with_capacity(table.bytes_of(id).len() + 1);
                if table.flags[id] & SPECIAL != 0 {
                    word.push(TokTrie::SPECIAL_TOKEN_MARKER);
                }
                word.extend_from_slice(table.bytes_of(id));
                word
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(table.len() as u32, eos), &words);
        let environment: TokEnv = Arc::new(Vocabulary { trie });
        let capabilities = InferenceCapabilities { ff_tokens: false, ..InferenceCapabilities::default() };
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory =
            ParserFactory::new(&environment, capabilities, &slices).map_err(|error| error.to_string())?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self { factory })
    }
}

fn matcher(tokenizer: &TextTokenizer, eos: u32, kind: &str, grammar: &str) -> Outcome<Matcher> {
    if grammar.len() > MAX_GRAMMAR_BYTES {
        return Err(Failure::invalid_argument(format!(
            "The grammar has {} bytes; at most {MAX_GRAMMAR_BYTES} are supported.",
            grammar.len()
        )));
    }
    if eos as usize >= tokenizer.table.len() {
        return Err(Failure::invalid_argument("The end-of-answer token is not in the vocabulary."));
    }
    let grammars = tokenizer
        .grammars
        .get_or_init(|| Grammars::new(&tokenizer.table, eos))
        .as_ref()
        .map_err(Failure::internal)?;
    let refused =
        |error: String| Failure::invalid_argument(format!("The {kind} cannot be used as a grammar: {error}"));
    let grammar =
        TopLevelGrammar::from_tagged_str(kind, grammar).map_err(|error| refused(error.to_string()))?;
    let matcher = Matcher::new(grammars.factory.create_parser(grammar));
    match matcher.get_error() {
        Some(error) => Err(refused(error)),
        None => Ok(matcher),
    }
}

/// # Safety
/// `tokenizer` is alive and outlives the matcher; the views are readable; `out` and `message` are writable.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_matcher_new(
    tokenizer: *const TextTokenizer,
    eos: u32,
    kind: View,
    grammar: View,
    out: *mut *mut Matcher,
    message: *mut Buffer,
) -> i32 {
    answer(out, message, || {
        Ok(Box::into_raw(Box::new(matcher(&*tokenizer, eos, &kind.text(), &grammar.text())?)))
    })
}

/// # Safety
/// `matcher` is alive and no other call uses it now; `out` and `message` are writable.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_matcher_clone(
    matcher: *const Matcher,
    out: *mut *mut Matcher,
    message: *mut Buffer,
) -> i32 {
    answer(out, message, || Ok(Box::into_raw(Box::new((*matcher).deep_clone()))))
}

/// # Safety
/// `matcher` is freed once.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_matcher_free(matcher: *mut Matcher) {
    free(matcher);
}

/// # Safety
/// `matcher` is alive; `words` has room for `word_count`; `accepting` and `message` are writable.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_matcher_mask(
    matcher: *mut Matcher,
    words: *mut u32,
    word_count: usize,
    accepting: *mut bool,
    message: *mut Buffer,
) -> i32 {
    answer(accepting, message, || {
        let matcher = &mut *matcher;
        let mask = matcher.compute_mask_or_eos().map_err(Failure::invalid_argument)?;
        let out = std::slice::from_raw_parts_mut(words, word_count);
        out.fill(0);
        let bits = mask.as_slice();
        let shared = bits.len().min(word_count);
        out[..shared].copy_from_slice(&bits[..shared]);
        matcher.is_accepting().map_err(Failure::invalid_argument)
    })
}

/// # Safety
/// `matcher` is alive; `finished` and `message` are writable.
#[no_mangle]
pub unsafe extern "C" fn sluice_text_matcher_consume(
    matcher: *mut Matcher,
    token: u32,
    finished: *mut bool,
    message: *mut Buffer,
) -> i32 {
    answer(finished, message, || {
        let matcher = &mut *matcher;
        matcher.consume_token(token).map_err(Failure::invalid_argument)?;
        Ok(matcher.is_stopped())
    })
}
