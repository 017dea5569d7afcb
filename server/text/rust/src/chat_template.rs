//! A model's Jinja chat template, compiled once and rendered as transformers renders it
//! (https://github.com/huggingface/transformers, utils/chat_template_utils.py): trim_blocks, lstrip_blocks,
//! loop controls, Python's methods on strings and maps, json.dumps for `tojson`, `raise_exception`,
//! `strftime_now`, `{% generation %}`. A template comes with a model and is treated as hostile: it reaches
//! nothing but its input, its steps and its output are bounded, and nesting is limited by the engine. Not
//! bounded: the size of a string between steps.

use std::fmt;
use std::io;

use minijinja::value::{Serde, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Map, Value as Json};

use crate::abi::{Failure, Outcome};
use crate::python_format::{float_repr, tojson};

const MAX_OUTPUT_BYTES: usize = 16 << 20;
const MAX_SOURCE_BYTES: usize = 1 << 20;
/// Template instructions of one rendering. A thousand messages with tools take some hundred thousand.
const MAX_STEPS: u64 = 5_000_000;
const NAME: &str = "chat_template";

pub struct ChatTemplate {
    environment: Environment<'static>,
    /// bos_token and the like; what the model does not have stays undefined, as in transformers.
    special_tokens: Map<String, Json>,
}

/// The template said no by raise_exception, in its own words.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl ChatTemplate {
    pub fn compile(source: &str, special_tokens: Map<String, Json>) -> Outcome<Self> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(Failure::unsupported(format!(
                "The model's chat template has {} bytes; at most {MAX_SOURCE_BYTES} are supported.",
                source.len()
            )));
        }
        let mut environment = Environment::new();
        let syntax = minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(Failure::internal)?);
        environment.set_fuel(Some(MAX_STEPS));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(|out, state, value| {
            if value.kind() == ValueKind::Number && !value.is_integer() {
                if let Ok(float) = f64::try_from(value.clone()) {
                    return out.write_str(&float_repr(float)).map_err(Error::from);
                }
            }
            minijinja::escape_formatter(out, state, value)
        });
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", |words: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, words.clone()).with_source(Refusal(words)))
        });
        environment.add_function("strftime_now", |format: String| local_time(&format));
        environment.add_template_owned(NAME, without_generation_tags(source)).map_err(|error| {
            Failure::unsupported(format!("The model's chat template cannot be compiled: {}.", told(&error)))
        })?;
        Ok(Self { environment, special_tokens })
    }

    /// `variables` without bos_token and its like.
    pub fn render(&self, mut variables: Map<String, Json>) -> Outcome<String> {
        for (name, text) in &self.special_tokens {
            variables.entry(name.clone()).or_insert_with(|| text.clone());
        }
        let template = self.environment.get_template(NAME).map_err(Failure::internal)?;
        let mut output = BoundedOutput(Vec::new());
        let rendered = template.render_captured_to(Serde(&variables), &mut output).map(|_| ());
        match rendered {
            Ok(()) => String::from_utf8(output.0).map_err(Failure::internal),
            Err(error) => Err(failure_of(&error)),
        }
    }
}

struct BoundedOutput(Vec<u8>);

impl io::Write for BoundedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other(TooLong));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {MAX_OUTPUT_BYTES} bytes")
    }
}

impl std::error::Error for TooLong {}

fn failure_of(error: &Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(refusal) = current.downcast_ref::<Refusal>() {
            return Failure::invalid_argument(&refusal.0);
        }
        if let Some(wrapped) = current.downcast_ref::<io::Error>() {
            if wrapped.get_ref().is_some_and(|inner| inner.is::<TooLong>()) {
                return Failure::invalid_argument(format!(
                    "The model's chat template makes more than {MAX_OUTPUT_BYTES} bytes of this \
                     conversation; send a \
                     shorter one."
                ));
            }
        }
        cause = current.source();
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return Failure::invalid_argument(format!(
            "The model's chat template takes more than {MAX_STEPS} steps for this conversation; send a \
             shorter one."
        ));
    }
    Failure::invalid_argument(format!("The model's chat template failed: {}.", told(error)))
}

fn told(error: &Error) -> String {
    let mut words = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    if let Some(line) = error.line() {
        words.push_str(&format!(" (line {line})"));
    }
    words
}

/// `{% generation %}` marks what an assistant said, for training. It renders its body; `with` does the same
/// here and opens a scope, as the original does.
fn without_generation_tags(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        plain.push_str(before);
        rest = tag;
        let after_sign = tag.strip_prefix(['-', '+']).unwrap_or(tag);
        let word_and_rest = after_sign.trim_start();
        for (word, replacement) in [("endgeneration", "endwith"), ("generation", "with")] {
            let Some(behind) = word_and_rest.strip_prefix(word) else { continue };
            let end = behind.trim_start();
            if end.starts_with("%}") || end.starts_with("-%}") || end.starts_with("+%}") {
                plain.push_str(&tag[..tag.len() - word_and_rest.len()]);
                plain.push_str(replacement);
                rest = behind;
            }
            break;
        }
    }
    plain.push_str(rest);
    plain
}

/// datetime.now().strftime(format) in the server's time zone.
fn local_time(format: &str) -> Result<String, Error> {
    let invalid = || Error::new(ErrorKind::InvalidOperation, "strftime_now cannot use this format");
    if format.is_empty() {
        return Ok(String::new());
    }
    if format.len() > 256 {
        return Err(invalid());
    }
    let format = std::ffi::CString::new(format).map_err(|_| invalid())?;
    let mut text = vec![0u8; 4096];
    // SAFETY: the buffers outlive the calls, and strftime writes at most the size it is given.
    let length = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&now, &mut parts).is_null() {
            return Err(invalid());
        }
        libc::strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), &parts)
    };
    text.truncate(length);
    String::from_utf8(text).map_err(|_| invalid())
}
