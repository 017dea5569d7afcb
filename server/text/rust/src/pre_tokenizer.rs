//! How a byte-level vocabulary's text is cut into words before merging, by the name a GGUF gives it
//! (tokenizer.ggml.pre). Each entry says what the model's published tokenizer.json says; a name that is not
//! here is refused, because a wrong cut changes tokens without a trace.

use tokenizers::normalizers::{NormalizerWrapper, NFC};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::SplitDelimiterBehavior;

use crate::abi::{Failure, Outcome};

// Of the tokenizer.json files of Llama 3, Qwen2.5, Mistral Nemo and DeepSeek V3.
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const DEEPSEEK_V3_DIGITS: &str = r"\p{N}{1,3}";
const DEEPSEEK_V3_CJK: &str = r"[一-龥぀-ゟ゠-ヿ]+";
const DEEPSEEK_V3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

pub struct Cutting {
    pub pre_tokenizer: PreTokenizerWrapper,
    pub normalizer: Option<NormalizerWrapper>,
    /// A word that is a token is that token, whatever the merges would make of it.
    pub ignore_merges: bool,
}

const NAMES: &str = "gpt-2, smollm, starcoder, refact, command-r, llama-bpe, qwen2, tekken, deepseek-v3";

pub fn cutting_of(name: &str) -> Outcome<Cutting> {
    let plain = |pre_tokenizer| Cutting { pre_tokenizer, normalizer: None, ignore_merges: false };
    let nfc = |pre_tokenizer| Cutting { normalizer: Some(NFC.into()), ..plain(pre_tokenizer) };
    let whole_words = |pre_tokenizer| Cutting { ignore_merges: true, ..plain(pre_tokenizer) };
    Ok(match name {
        "gpt-2" | "gpt2" => plain(byte_level(true)),
        "smollm" | "starcoder" | "refact" | "codeshell" => plain(single_digits()?),
        "command-r" => nfc(single_digits()?),
        "llama-bpe" | "llama3" | "llama-v3" => whole_words(by_regexes(&[LLAMA3])?),
        "qwen2" | "deepseek-r1-qwen" | "megrez" => nfc(by_regexes(&[QWEN2])?),
        "tekken" => whole_words(by_regexes(&[TEKKEN])?),
        "deepseek-v3" => plain(by_regexes(&[DEEPSEEK_V3_DIGITS, DEEPSEEK_V3_CJK, DEEPSEEK_V3])?),
        "" => {
            return Err(Failure::unsupported(format!(
                "The GGUF does not name its pre-tokenizer (tokenizer.ggml.pre), so its text cannot be cut \
                 as the model was taught. Convert the model again with a newer converter. Known: {NAMES}."
            )))
        }
        other => {
            return Err(Failure::unsupported(format!(
                "The GGUF's pre-tokenizer {other:?} (tokenizer.ggml.pre) is not known. Known: {NAMES}."
            )))
        }
    })
}

fn byte_level(use_regex: bool) -> PreTokenizerWrapper {
    ByteLevel::new(false, true, use_regex).into()
}

fn single_digits() -> Outcome<PreTokenizerWrapper> {
    Ok(Sequence::new(vec![Digits::new(true).into(), byte_level(true)]).into())
}

fn by_regexes(regexes: &[&str]) -> Outcome<PreTokenizerWrapper> {
    let mut steps = Vec::with_capacity(regexes.len() + 1);
    for regex in regexes {
        let split =
            Split::new(SplitPattern::Regex(regex.to_string()), SplitDelimiterBehavior::Isolated, false)
                .map_err(Failure::internal)?;
        steps.push(split.into());
    }
    steps.push(byte_level(false));
    Ok(Sequence::new(steps).into())
}
