//! A GGUF's embedded vocabulary as a tokenizer: byte-level BPE ("gpt2") and SentencePiece's BPE ("llama"),
//! the latter with merges derived from the scores as transformers derives them (convert_slow_tokenizer.py,
//! generate_merges).

use ahash::AHashMap;
use std::borrow::Cow;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as DecoderSequence;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{Prepend, Replace, Sequence as NormalizerSequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::{Template, TemplateProcessing};
use tokenizers::{AddedToken, NormalizerWrapper, Tokenizer};

use crate::abi::{Failure, Outcome, View};
use crate::pre_tokenizer::{cutting_of, Cutting};
use crate::token_table::{Decoding, TokenTable, SPECIAL};
use crate::tokenizer::TextTokenizer;

// Token types of GGUF (tokenizer.ggml.token_type).
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// SentencePiece's stand-in for a space.
const LOWER_BLOCK: &str = "\u{2581}";

/// The same layout as SluiceTextVocabulary.
#[repr(C)]
pub struct Vocabulary {
    model: View,
    pre: View,
    bos_token: View,
    eos_token: View,
    tokens: *const View,
    token_count: usize,
    types: *const i32,
    type_count: usize,
    scores: *const f32,
    score_count: usize,
    merges: *const View,
    merge_count: usize,
    add_bos: bool,
    add_eos: bool,
    add_space_prefix: bool,
}

struct Contents<'a> {
    tokens: Vec<Cow<'a, str>>,
    types: &'a [i32],
    scores: &'a [f32],
    merges: &'a [View],
}

unsafe fn slice<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if count == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(first, count)
    }
}

impl Contents<'_> {
    fn type_of(&self, id: usize) -> i32 {
        self.types.get(id).copied().unwrap_or(1)
    }
    fn is_special(&self, id: usize) -> bool {
        matches!(self.type_of(id), UNKNOWN | CONTROL)
    }
}

/// # Safety
/// Everything `vocabulary` points to is readable.
pub unsafe fn tokenizer(vocabulary: &Vocabulary) -> Outcome<TextTokenizer> {
    let contents = Contents {
        tokens: slice(vocabulary.tokens, vocabulary.token_count).iter().map(|token| token.text()).collect(),
        types: slice(vocabulary.types, vocabulary.type_count),
        scores: slice(vocabulary.scores, vocabulary.score_count),
        merges: slice(vocabulary.merges, vocabulary.merge_count),
    };
    let count = contents.tokens.len();
    if count == 0 {
        return Err(Failure::corrupt("The GGUF's vocabulary (tokenizer.ggml.tokens) is empty."));
    }
    for (name, length) in [("token_type", contents.types.len()), ("scores", contents.scores.len())] {
        if length != 0 && length != count {
            return Err(Failure::corrupt(format!(
                "The GGUF's vocabulary has {count} tokens but tokenizer.ggml.{name} has {length} entries."
            )));
        }
    }
    let model = vocabulary.model.text();
    let mut inner = match model.as_ref() {
        "gpt2" => byte_level(&contents, &vocabulary.pre.text())?,
        "llama" => sentence_piece(&contents, vocabulary.add_space_prefix)?,
        other => {
            return Err(Failure::unsupported(format!(
                "The GGUF's vocabulary is of the kind {other:?} (tokenizer.ggml.model); \"gpt2\" \
                 (byte-level BPE) and \
                 \"llama\" (SentencePiece) are supported."
            )))
        }
    };
    let added = (0..count).filter_map(|id| {
        let special = contents.is_special(id);
        (special || contents.type_of(id) == USER_DEFINED)
            .then(|| AddedToken::from(contents.tokens[id].as_ref(), special).normalized(false))
    });
    inner.add_tokens(added.filter(|token| !token.content.is_empty())).map_err(Failure::corrupt)?;
    let ends = [
        vocabulary.add_bos.then(|| vocabulary.bos_token.text()),
        vocabulary.add_eos.then(|| vocabulary.eos_token.text()),
    ];
    surround(&mut inner, ends)?;

    let tokens = contents
        .tokens
        .iter()
        .enumerate()
        .map(|(id, text)| (id as u32, text.as_ref(), if contents.is_special(id) { SPECIAL } else { 0 }));
    let table = TokenTable::build(Decoding::of(&inner)?, count, tokens)?;
    Ok(TextTokenizer::new(inner, table))
}

fn ids_of(tokens: &[Cow<str>]) -> AHashMap<String, u32> {
    tokens.iter().enumerate().map(|(id, text)| (text.to_string(), id as u32)).collect()
}

fn byte_level(contents: &Contents, pre: &str) -> Outcome<Tokenizer> {
    let Cutting { pre_tokenizer, normalizer, ignore_merges } = cutting_of(pre)?;
    let mut merges = Vec::with_capacity(contents.merges.len());
    for merge in contents.merges {
        // SAFETY: whoever made the Vocabulary vouches for its views.
        let merge = unsafe { merge.text() };
        // Both parts are not empty, and neither holds a space: a byte-level alphabet has none.
        let (left, right) = merge
            .split_once(' ')
            .filter(|(left, right)| !left.is_empty() && !right.is_empty())
            .ok_or_else(|| Failure::corrupt(format!("The GGUF's merge {merge:?} is not two tokens.")))?;
        merges.push((left.to_string(), right.to_string()));
    }
    if merges.is_empty() {
        return Err(Failure::corrupt("The GGUF's vocabulary has no merges (tokenizer.ggml.merges)."));
    }
    let model = BPE::builder()
        .vocab_and_merges(ids_of(&contents.tokens), merges)
        .ignore_merges(ignore_merges)
        .build()
        .map_err(|error| Failure::corrupt(format!("The GGUF's merges do not fit its tokens: {error}.")))?;
    let mut inner = Tokenizer::new(model);
    inner.with_normalizer(normalizer).map_err(Failure::internal)?;
    inner.with_pre_tokenizer(Some(pre_tokenizer));
    inner.with_decoder(Some(ByteLevel::new(false, true, true)));
    Ok(inner)
}

fn sentence_piece(contents: &Contents, add_space_prefix: bool) -> Outcome<Tokenizer> {
    if contents.scores.is_empty() {
        return Err(Failure::corrupt(
            "The GGUF's SentencePiece vocabulary has no scores (tokenizer.ggml.scores).",
        ));
    }
    let ids = ids_of(&contents.tokens);
    let merges = merges_by_score(contents, &ids);
    let unknown = (0..contents.tokens.len()).find(|id| contents.type_of(*id) == UNKNOWN);
    let mut builder = BPE::builder().vocab_and_merges(ids, merges).fuse_unk(true).byte_fallback(true);
    if let Some(unknown) = unknown {
        builder = builder.unk_token(contents.tokens[unknown].to_string());
    }
    let model = builder.build().map_err(|error| {
        Failure::corrupt(format!("The GGUF's SentencePiece vocabulary does not fit itself: {error}."))
    })?;

    let mut inner = Tokenizer::new(model);
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    if add_space_prefix {
        normalizers.push(Prepend::new(LOWER_BLOCK.to_string()).into());
    }
    normalizers.push(Replace::new(" ", LOWER_BLOCK).map_err(Failure::internal)?.into());
    inner.with_normalizer(Some(NormalizerSequence::new(normalizers))).map_err(Failure::internal)?;

    let mut decoders = vec![
        Replace::new(LOWER_BLOCK, " ").map_err(Failure::internal)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if add_space_prefix {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    inner.with_decoder(Some(DecoderSequence::new(decoders)));
    Ok(inner)
}

/// Every way to make a token of two others, best score first; among equals the longer left part first, then
/// the longer right one, then the order of the vocabulary.
fn merges_by_score(contents: &Contents, ids: &AHashMap<String, u32>) -> Vec<(String, String)> {
    struct Merge<'a> {
        score: f32,
        left_chars: usize,
        right_chars: usize,
        left: &'a str,
        right: &'a str,
    }
    let mut merges: Vec<Merge> = Vec::with_capacity(contents.tokens.len() * 2);
    let mut of_token: Vec<(u32, u32, Merge)> = Vec::new();
    for (id, token) in contents.tokens.iter().enumerate() {
        // The last of equal tokens is the one that has the id.
        if ids.get(token.as_ref()) != Some(&(id as u32)) {
            continue;
        }
        let chars = token.chars().count();
        for (nth, (at, _)) in token.char_indices().enumerate().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(left_id), Some(right_id)) = (ids.get(left), ids.get(right)) {
                let merge = Merge {
                    score: contents.scores[id],
                    left_chars: nth,
                    right_chars: chars - nth,
                    left,
                    right,
                };
                of_token.push((*left_id, *right_id, merge));
            }
        }
        of_token.sort_by_key(|(left_id, right_id, _)| (*left_id, *right_id));
        merges.extend(of_token.drain(..).map(|(_, _, merge)| merge));
    }
    merges.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then(b.left_chars.cmp(&a.left_chars))
            .then(b.right_chars.cmp(&a.right_chars))
    });
    merges.into_iter().map(|merge| (merge.left.to_string(), merge.right.to_string())).collect()
}

/// BOS before and EOS behind a text, where the file asks for them.
fn surround(inner: &mut Tokenizer, ends: [Option<Cow<str>>; 2]) -> Outcome<()> {
    let [bos, eos] = &ends;
    let mut pieces = Vec::new();
    let mut special = Vec::new();
    for (text, before, name) in [(bos, true, "bos"), (eos, false, "eos")] {
        let Some(text) = text else { continue };
        let id = inner.token_to_id(text).filter(|_| !text.is_empty()).ok_or_else(|| {
            Failure::corrupt(format!(
                "The GGUF asks for a {name} token around each text (tokenizer.ggml.add_{name}_token), but \
                 names none of \
                 its tokens (tokenizer.ggml.{name}_token_id)."
            ))
        })?;
        // The names inside the template are ours: a token's text may hold what a template's syntax does not
        // allow.
        pieces.push((before, format!("{name}:0")));
        special.push((name.to_string(), id));
    }
    if pieces.is_empty() {
        return Ok(());
    }
    let before = pieces.iter().filter(|(before, _)| *before).map(|(_, piece)| piece.clone());
    let behind = pieces.iter().filter(|(before, _)| !*before).map(|(_, piece)| piece.clone());
    let single: Vec<String> = before.chain(["$A:0".to_string()]).chain(behind).collect();
    let processor = TemplateProcessing::builder()
        .single(Template::try_from(single).map_err(Failure::internal)?)
        .special_tokens(special)
        .build()
        .map_err(Failure::internal)?;
    inner.with_post_processor(Some(processor));
    Ok(())
}
