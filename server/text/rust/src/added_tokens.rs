//! Who may spell a special token: the model's template may, a client may not.
//!
//! A client's whole text is encoded with special tokens off. A rendered conversation holds both, in one
//! string that must be cut into words as one (a merge may span the seam between template and content). So
//! before rendering, each place of the client's strings that could be read as a special token, or as the
//! beginning or end of one cut by the string's edge, gets a guard: a private-use character between the
//! token's first character and the rest. After rendering the special tokens are split out with the guards
//! in place, then the guards go, and what is left of the token's text is encoded as the text it is. Content
//! without such text is untouched.

use ahash::AHashMap;
use tokenizers::{AddedVocabulary, PreTokenizedString, Tokenizer};

/// Private-use characters, of which one that the conversation does not contain serves as the guard.
const GUARDS: std::ops::RangeInclusive<char> = '\u{e000}'..='\u{e0ff}';

pub struct AddedTokens {
    without_special: AddedVocabulary,
    whole: Trie,
    /// What special tokens end in: every proper suffix of each.
    ends: Trie,
}

impl AddedTokens {
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let mut without_special = tokenizer.get_added_vocabulary().clone();
        without_special.set_encode_special_tokens(true);
        let (mut whole, mut ends) = (Trie::default(), Trie::default());
        for token in tokenizer.get_added_tokens_decoder().values().filter(|token| token.special) {
            whole.insert(&token.content);
            for (at, _) in token.content.char_indices().skip(1) {
                ends.insert(&token.content[at..]);
            }
        }
        Self { without_special, whole, ends }
    }

    /// Special tokens stay text; other added tokens are found, as transformers' split_special_tokens has it.
    pub fn split_plain(&self, tokenizer: &Tokenizer, text: &str) -> PreTokenizedString {
        self.without_special.extract_and_normalize(tokenizer.get_normalizer(), text)
    }

    /// A character to guard with, or None when no string can be read as a special token anyway. With every
    /// candidate taken the conversation is refused by the caller.
    pub fn guard_for<'a>(&self, strings: &[&'a str]) -> Guard {
        if strings.iter().all(|text| self.places(text).is_empty()) {
            return Guard::NotNeeded;
        }
        match GUARDS.into_iter().find(|guard| strings.iter().all(|text| !text.contains(*guard))) {
            Some(guard) => Guard::Use(guard),
            None => Guard::NoneLeft,
        }
    }

    /// `text` with `guard` wherever it could become a special token, or None when nowhere.
    pub fn guarded(&self, text: &str, guard: char) -> Option<String> {
        let places = self.places(text);
        if places.is_empty() {
            return None;
        }
        let mut guarded = String::with_capacity(text.len() + places.len() * guard.len_utf8());
        let mut done = 0;
        for place in places {
            guarded.push_str(&text[done..place]);
            guarded.push(guard);
            done = place;
        }
        guarded.push_str(&text[done..]);
        Some(guarded)
    }

    /// Byte positions, rising, each behind a first character that must be parted from what follows.
    fn places(&self, text: &str) -> Vec<usize> {
        let mut places = Vec::new();
        // A template may trim what it is given, which brings another edge to the seam.
        let trimmed_end = text.trim_end().len();
        for (at, first) in text.char_indices() {
            if !self.whole.begins_with(first) {
                continue;
            }
            let rest = &text[at..];
            let cut =
                |end: usize| at < end && self.whole.holds_start(&text[at..end]) && tells(&text[at..end]);
            if self.whole.starts(rest) || cut(text.len()) || cut(trimmed_end) {
                places.push(at + first.len_utf8());
            }
        }
        for edge in [text, text.trim_start()] {
            let Some(length) = self.ends.longest(edge) else { continue };
            if tells(&edge[..length]) {
                let first = edge.chars().next().map_or(0, char::len_utf8);
                places.push(text.len() - edge.len() + first);
            }
        }
        places.sort_unstable();
        places.dedup();
        places
    }
}

pub enum Guard {
    NotNeeded,
    Use(char),
    NoneLeft,
}

/// A cut piece of letters and digits alone is a word like any other ("s" of some token's end): parting it
/// would only disturb the template's comparisons ("user", "system").
fn tells(piece: &str) -> bool {
    piece.chars().any(|c| !c.is_alphanumeric())
}

#[derive(Default)]
struct Trie {
    next: AHashMap<(u32, char), u32>,
    ends: Vec<bool>,
}

impl Trie {
    fn insert(&mut self, text: &str) {
        if self.ends.is_empty() {
            self.ends.push(false);
        }
        let mut node = 0;
        for c in text.chars() {
            let fresh = self.ends.len() as u32;
            node = *self.next.entry((node, c)).or_insert(fresh);
            if node == fresh {
                self.ends.push(false);
            }
        }
        if node != 0 {
            self.ends[node as usize] = true;
        }
    }

    fn begins_with(&self, first: char) -> bool {
        self.next.contains_key(&(0, first))
    }

    /// Whether one of the texts is at the start of `text`.
    fn starts(&self, text: &str) -> bool {
        self.longest(text).is_some()
    }

    /// Bytes of the longest of the texts at the start of `text`.
    fn longest(&self, text: &str) -> Option<usize> {
        let (mut node, mut longest) = (0, None);
        for (at, c) in text.char_indices() {
            match self.next.get(&(node, c)) {
                Some(next) => node = *next,
                None => break,
            }
            if self.ends[node as usize] {
                longest = Some(at + c.len_utf8());
            }
        }
        longest
    }

    /// Whether all of `text` is the start of one of the texts.
    fn holds_start(&self, text: &str) -> bool {
        let mut node = 0;
        text.chars().all(|c| match self.next.get(&(node, c)) {
            Some(next) => {
                node = *next;
                true
            }
            None => false,
        })
    }
}
