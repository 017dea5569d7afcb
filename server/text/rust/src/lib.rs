//! The text floor's foreign libraries behind one C ABI (../text_ffi.h): tokenizers, minijinja and
//! llguidance. Handles are immutable after they are made and may be shared by threads; a matcher belongs to
//! one thread at a time.

mod abi;
mod added_tokens;
mod chat_template;
mod conversation;
mod gguf_vocabulary;
mod matcher;
mod pre_tokenizer;
mod python_format;
mod token_table;
mod tokenizer;
